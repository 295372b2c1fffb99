/* LiteRT (TensorFlow Lite's successor) behind the same call as everything else, through its C interface: one thread,
   every tensor made beforehand, states double-buffered so that none is ever copied.

   The wheel holds the library and no header; what is needed of litert/c is declared here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, FLOAT = 1, CPU = 1 };

typedef struct {
    int element;
    uint32_t rank; /* seven bits, and one that tells of strides */
    int32_t sizes[8];
    uint32_t strides[8];
} tensor_type;

typedef struct {
    int (*run)(void *compiled, size_t signature, size_t in_count, void **in, size_t out_count, void **out);
    void *compiled;
    size_t count;
    size_t places[2][MOST]; /* of the signal and the states among the model's inputs and outputs */
    float *in, *out, *states[2][MOST];
    size_t in_bytes, out_bytes, state_bytes[MOST];
    void *tensors[2][2][MOST]; /* parity; in, out */
    int parity, failed;
} network;

const char *lrt_error(void);
void *lrt_open(const char *library, const char *model, size_t count, const size_t *ranks, const int64_t *shapes,
               size_t out_rank, const int64_t *out_shape);
void lrt_reset(void *context);
void lrt_call(void *context, const float *in, float *out);
int lrt_failed(const void *context);

static const char *step = "";
static void *loaded;

const char *lrt_error(void)
{
    return step;
}

/* A function of the library; the name is kept for the case that it fails. */
static void *find(const char *name)
{
    step = name;
    return dlsym(loaded, name);
}

#define CALL(NAME, TYPES, ...)                                                                                         \
    do {                                                                                                               \
        int(*function) TYPES;                                                                                          \
        *(void **)&function = find(NAME);                                                                              \
        if (!function || function(__VA_ARGS__))                                                                        \
            return 0;                                                                                                  \
    } while (0)

/* Inputs are called args_N and outputs output_N, and come in any order. */
static int places_of(network *n, void *signature)
{
    for (size_t i = 0; i < n->count; i++) {
        const char *name;
        CALL("LiteRtGetSignatureInputName", (void *, size_t, const char **), signature, i, &name);
        n->places[0][strtoul(strrchr(name, '_') + 1, NULL, 10)] = i;
        CALL("LiteRtGetSignatureOutputName", (void *, size_t, const char **), signature, i, &name);
        n->places[1][strtoul(strrchr(name, '_') + 1, NULL, 10)] = i;
    }
    return 1;
}

static int compile(network *n, const char *path)
{
    void *env, *model, *options, *threads, *signature;
    CALL("LiteRtCreateEnvironment", (int, const void *, void **), 0, NULL, &env);
    CALL("LiteRtCreateModelFromFile", (void *, const char *, void **), env, path, &model);
    CALL("LiteRtCreateOptions", (void **), &options);
    CALL("LiteRtSetOptionsHardwareAccelerators", (void *, int), options, CPU);
    CALL("LiteRtCreateOpaqueOptions", (const char *, void *, void (*)(void *), void **), "cpu_options",
         strdup("num_threads = 1\n"), free, &threads);
    CALL("LiteRtAddOpaqueOptions", (void *, void *), options, threads);
    CALL("LiteRtCreateCompiledModel", (void *, void *, void *, void **), env, model, options, &n->compiled);
    CALL("LiteRtGetModelSignature", (void *, size_t, void **), model, 0, &signature);
    *(void **)&n->run = find("LiteRtRunCompiledModel");
    return n->run && places_of(n, signature);
}

static int tensor(const int64_t *shape, size_t rank, float **data, size_t *bytes, void **made)
{
    tensor_type type = {.element = FLOAT, .rank = (uint32_t)rank};
    *bytes = sizeof(float);
    for (size_t i = 0; i < rank; i++) {
        *bytes *= (size_t)shape[i];
        type.sizes[i] = (int32_t)shape[i];
    }
    if (!*data)
        *data = aligned_alloc(64, (*bytes + 127) / 64 * 64);
    CALL("LiteRtCreateTensorBufferFromHostMemory", (const tensor_type *, void *, size_t, void (*)(void *), void **), &type,
         *data, *bytes, NULL, made);
    return 1;
}

static int make_tensors(network *n, const size_t *ranks, const int64_t *shapes, size_t out_rank, const int64_t *out_shape)
{
    for (int p = 0; p < 2; p++) {
        const int64_t *shape = shapes + ranks[0];
        if (!tensor(shapes, ranks[0], &n->in, &n->in_bytes, &n->tensors[p][0][n->places[0][0]]) ||
            !tensor(out_shape, out_rank, &n->out, &n->out_bytes, &n->tensors[p][1][n->places[1][0]]))
            return 0;
        for (size_t i = 1; i < n->count; shape += ranks[i], i++)
            for (int side = 0; side < 2; side++)
                if (!tensor(shape, ranks[i], &n->states[p ^ side][i], &n->state_bytes[i],
                            &n->tensors[p][side][n->places[side][i]]))
                    return 0;
    }
    return 1;
}

void *lrt_open(const char *library, const char *model, size_t count, const size_t *ranks, const int64_t *shapes,
               size_t out_rank, const int64_t *out_shape)
{
    network *n = calloc(1, sizeof *n);
    loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!n || !loaded || count > MOST)
        return NULL;
    n->count = count;
    if (!compile(n, model) || !make_tensors(n, ranks, shapes, out_rank, out_shape))
        return NULL;
    lrt_reset(n);
    return n;
}

void lrt_reset(void *context)
{
    network *n = context;
    for (size_t i = 1; i < n->count; i++)
        for (int p = 0; p < 2; p++)
            memset(n->states[p][i], 0, n->state_bytes[i]);
    n->parity = 0;
}

void lrt_call(void *context, const float *in, float *out)
{
    network *n = context;
    memcpy(n->in, in, n->in_bytes);
    if (n->run(n->compiled, 0, n->count, n->tensors[n->parity][0], n->count, n->tensors[n->parity][1]))
        n->failed = 1;
    memcpy(out, n->out, n->out_bytes);
    n->parity ^= 1;
}

int lrt_failed(const void *context)
{
    return ((const network *)context)->failed;
}
