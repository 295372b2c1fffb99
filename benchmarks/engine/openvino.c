/* OpenVINO behind the same call as everything else, through its C interface: one thread, 32-bit floats, every tensor
   made beforehand. Two requests share the states crosswise, so that none is ever copied. */
#include <openvino/c/openvino.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64 };

typedef struct {
    ov_infer_request_t *requests[2];
    size_t count;
    float *in, *out, *states[2][MOST];
    size_t in_bytes, out_bytes, state_bytes[MOST];
    int parity, failed;
} network;

const char *ov_error(void);
void *ov_open(const char *model, size_t count, const size_t *ranks, const int64_t *shapes, size_t out_rank,
              const int64_t *out_shape);
void ov_reset(void *context);
void ov_call(void *context, const float *in, float *out);
int ov_failed(const void *context);

const char *ov_error(void)
{
    return ov_get_last_err_msg();
}

static int compile(const char *model, ov_compiled_model_t **compiled)
{
    ov_core_t *core;
    ov_model_t *read;
    /* Its own choice on this kind of processor would be 16-bit arithmetic. */
    return ov_core_create(&core) == OK && ov_core_read_model(core, model, NULL, &read) == OK &&
           ov_core_compile_model(core, read, "CPU", 8, compiled, "INFERENCE_NUM_THREADS", "1", "NUM_STREAMS", "1",
                                 "PERFORMANCE_HINT", "LATENCY", "INFERENCE_PRECISION_HINT", "f32") == OK;
}

static float *tensor(const int64_t *shape, size_t rank, float *data, size_t *bytes, ov_tensor_t **made)
{
    ov_shape_t given;
    *bytes = sizeof(float);
    for (size_t i = 0; i < rank; i++)
        *bytes *= (size_t)shape[i];
    if (!data)
        data = aligned_alloc(64, (*bytes + 63) / 64 * 64);
    if (!data || ov_shape_create((int64_t)rank, shape, &given) != OK ||
        ov_tensor_create_from_host_ptr(F32, given, data, made) != OK)
        return NULL;
    return data;
}

/* Both requests read and write the signal's tensors; each state is read from one buffer and written to the other. */
static int make_tensors(network *n, const size_t *ranks, const int64_t *shapes, size_t out_rank, const int64_t *out_shape)
{
    ov_tensor_t *made;
    for (int p = 0; p < 2; p++) {
        const int64_t *shape = shapes + ranks[0];
        n->in = tensor(shapes, ranks[0], n->in, &n->in_bytes, &made);
        if (!n->in || ov_infer_request_set_input_tensor_by_index(n->requests[p], 0, made) != OK)
            return 0;
        n->out = tensor(out_shape, out_rank, n->out, &n->out_bytes, &made);
        if (!n->out || ov_infer_request_set_output_tensor_by_index(n->requests[p], 0, made) != OK)
            return 0;
        for (size_t i = 1; i < n->count; shape += ranks[i], i++)
            for (int side = 0; side < 2; side++) {
                float **buffer = &n->states[p ^ side][i];
                *buffer = tensor(shape, ranks[i], *buffer, &n->state_bytes[i], &made);
                if (!*buffer || (side ? ov_infer_request_set_output_tensor_by_index(n->requests[p], i, made)
                                      : ov_infer_request_set_input_tensor_by_index(n->requests[p], i, made)) != OK)
                    return 0;
            }
    }
    return 1;
}

/* A model whose inputs and outputs are the signal and then the states. */
void *ov_open(const char *model, size_t count, const size_t *ranks, const int64_t *shapes, size_t out_rank,
              const int64_t *out_shape)
{
    network *n = calloc(1, sizeof *n);
    ov_compiled_model_t *compiled;
    if (!n || count > MOST || !compile(model, &compiled))
        return NULL;
    n->count = count;
    for (int p = 0; p < 2; p++)
        if (ov_compiled_model_create_infer_request(compiled, &n->requests[p]) != OK)
            return NULL;
    if (!make_tensors(n, ranks, shapes, out_rank, out_shape))
        return NULL;
    ov_reset(n);
    return n;
}

void ov_reset(void *context)
{
    network *n = context;
    for (size_t i = 1; i < n->count; i++)
        for (int p = 0; p < 2; p++)
            memset(n->states[p][i], 0, n->state_bytes[i]);
    n->parity = 0;
}

void ov_call(void *context, const float *in, float *out)
{
    network *n = context;
    memcpy(n->in, in, n->in_bytes);
    if (ov_infer_request_infer(n->requests[n->parity]) != OK)
        n->failed = 1;
    memcpy(out, n->out, n->out_bytes);
    n->parity ^= 1;
}

int ov_failed(const void *context)
{
    return ((const network *)context)->failed;
}
