/* ONNX Runtime behind the same call as everything else, through its C interface: one thread, every tensor made
   beforehand, states double-buffered so that none is ever copied. Nothing of Python is left in a call.

   The wheel holds the library and no header. The interface is a table of functions whose order is fixed for ever
   (onnxruntime_c_api.h: its first version ends at place 101), so the places of the few that are needed are written
   here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*any_function)(void);

typedef struct {
    const any_function *(*table)(uint32_t version);
    const char *(*version)(void);
} api_base;

enum {
    GET_ERROR_MESSAGE = 2, CREATE_ENV = 3, CREATE_SESSION = 7, RUN = 9, CREATE_SESSION_OPTIONS = 10,
    SET_GRAPH_OPTIMIZATION = 23, SET_INTRA_OP_THREADS = 24, SET_INTER_OP_THREADS = 25, CREATE_TENSOR = 49,
    CREATE_CPU_MEMORY_INFO = 69
};

/* Every function returns NULL or a status to be asked for its message. */
typedef void *(*create_env)(int severity, const char *name, void **made);
typedef void *(*create_options)(void **made);
typedef void *(*set_option)(void *options, int value);
typedef void *(*create_session)(void *env, const char *path, const void *options, void **made);
typedef void *(*create_memory_info)(int allocator, int memory, void **made);
typedef void *(*create_tensor)(const void *info, void *data, size_t bytes, const int64_t *shape, size_t rank, int type,
                               void **made);
typedef void *(*run_session)(void *session, const void *options, const char *const *in_names, const void *const *in,
                             size_t in_count, const char *const *out_names, size_t out_count, void **out);
typedef const char *(*error_message)(const void *status);

enum { SEVERITY_ERROR = 3, OPTIMIZE_ALL = 99, FLOAT = 1, PLAIN_ALLOCATOR = 0, MEMORY_DEFAULT = 0 };
enum { MOST = 64 };

typedef struct {
    run_session run;
    void *session;
    size_t count;             /* of tensors on either side: the signal and the states */
    char names[2][MOST][16];  /* in, out */
    const char *in_names[MOST], *out_names[MOST];
    float *in, *out, *states[2][MOST];
    size_t in_bytes, out_bytes, state_bytes[MOST];
    void *tensors[2][2][MOST]; /* parity; in, out */
    int parity, failed;
} network;

const char *ort_error(void);
void *ort_open(const char *library, const char *model, size_t count, const size_t *ranks, const int64_t *shapes,
               size_t out_rank, const int64_t *out_shape, int level);
void ort_reset(void *context);
void ort_call(void *context, const float *in, float *out);
int ort_failed(const void *context);

static char error[512];
static const any_function *api;

const char *ort_error(void)
{
    return error;
}

/* Whether a call went wrong; keeps the reason. */
static int bad(void *status)
{
    if (status)
        snprintf(error, sizeof error, "%s", ((error_message)api[GET_ERROR_MESSAGE])(status));
    return status != NULL;
}

static float *tensor(const void *info, const int64_t *shape, size_t rank, float *data, size_t *bytes, void **made)
{
    *bytes = sizeof(float);
    for (size_t i = 0; i < rank; i++)
        *bytes *= (size_t)shape[i];
    if (!data)
        data = aligned_alloc(64, (*bytes + 63) / 64 * 64);
    if (!data || bad(((create_tensor)api[CREATE_TENSOR])(info, data, *bytes, shape, rank, FLOAT, made)))
        return NULL;
    return data;
}

static void *session_of(const char *library, const char *model, int level)
{
    void *loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL), *env, *options, *session;
    const api_base *(*base)(void) = NULL;
    if (loaded)
        *(void **)&base = dlsym(loaded, "OrtGetApiBase");
    if (!base || !(api = base()->table(1))) {
        snprintf(error, sizeof error, "no ONNX Runtime in %s", library);
        return NULL;
    }
    if (bad(((create_env)api[CREATE_ENV])(SEVERITY_ERROR, "benchmark", &env)) ||
        bad(((create_options)api[CREATE_SESSION_OPTIONS])(&options)) ||
        bad(((set_option)api[SET_GRAPH_OPTIMIZATION])(options, level)) ||
        bad(((set_option)api[SET_INTRA_OP_THREADS])(options, 1)) ||
        bad(((set_option)api[SET_INTER_OP_THREADS])(options, 1)) ||
        bad(((create_session)api[CREATE_SESSION])(env, model, options, &session)))
        return NULL;
    return session;
}

/* All tensors: the signal's are shared by both parities, each state is read from one buffer and written to the other. */
static int make_tensors(network *n, const size_t *ranks, const int64_t *shapes, size_t out_rank, const int64_t *out_shape)
{
    void *info;
    if (bad(((create_memory_info)api[CREATE_CPU_MEMORY_INFO])(PLAIN_ALLOCATOR, MEMORY_DEFAULT, &info)))
        return 0;
    for (int p = 0; p < 2; p++) {
        const int64_t *shape = shapes + ranks[0];
        n->in = tensor(info, shapes, ranks[0], n->in, &n->in_bytes, &n->tensors[p][0][0]);
        n->out = tensor(info, out_shape, out_rank, n->out, &n->out_bytes, &n->tensors[p][1][0]);
        if (!n->in || !n->out)
            return 0;
        for (size_t i = 1; i < n->count; shape += ranks[i], i++)
            for (int side = 0; side < 2; side++) {
                float **buffer = &n->states[p ^ side][i];
                *buffer = tensor(info, shape, ranks[i], *buffer, &n->state_bytes[i], &n->tensors[p][side][i]);
                if (!*buffer)
                    return 0;
            }
    }
    return 1;
}

/* A model whose inputs are called in0, in1... and whose outputs are out0, out1...: the signal and then the states. */
void *ort_open(const char *library, const char *model, size_t count, const size_t *ranks, const int64_t *shapes,
               size_t out_rank, const int64_t *out_shape, int level)
{
    network *n = calloc(1, sizeof *n);
    if (!n || count > MOST)
        return NULL;
    n->count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(n->names[0][i], sizeof n->names[0][i], "in%d", (int)i);
        snprintf(n->names[1][i], sizeof n->names[1][i], "out%d", (int)i);
        n->in_names[i] = n->names[0][i];
        n->out_names[i] = n->names[1][i];
    }
    n->session = session_of(library, model, level ? level : OPTIMIZE_ALL);
    if (!n->session || !make_tensors(n, ranks, shapes, out_rank, out_shape))
        return NULL;
    n->run = (run_session)api[RUN];
    ort_reset(n);
    return n;
}

void ort_reset(void *context)
{
    network *n = context;
    for (size_t i = 1; i < n->count; i++)
        for (int p = 0; p < 2; p++)
            memset(n->states[p][i], 0, n->state_bytes[i]);
    n->parity = 0;
}

void ort_call(void *context, const float *in, float *out)
{
    network *n = context;
    memcpy(n->in, in, n->in_bytes);
    if (bad(n->run(n->session, NULL, n->in_names, (const void *const *)n->tensors[n->parity][0], n->count, n->out_names,
                   n->count, n->tensors[n->parity][1])))
        n->failed = 1;
    memcpy(out, n->out, n->out_bytes);
    n->parity ^= 1;
}

int ort_failed(const void *context)
{
    return ((const network *)context)->failed;
}
