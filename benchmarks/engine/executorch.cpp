/* ExecuTorch behind the same call as everything else: its own C++ interface, one thread, state in the program. */
#include <executorch/extension/module/module.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

/* The wheel holds the library of this and no header. */
namespace executorch::extension::threadpool {
class ThreadPool {
public:
    bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool *get_threadpool();
}

using executorch::aten::ScalarType;
using executorch::aten::TensorImpl;
using executorch::extension::Module;
using executorch::runtime::EValue;

struct Network {
    Module module;
    std::vector<TensorImpl::SizesType> sizes;
    std::vector<TensorImpl::DimOrderType> order;
    executorch::runtime::Method *method = nullptr;
    bool failed = false;

    Network(const char *path, const int64_t *shape, size_t rank) : module(path), sizes(shape, shape + rank)
    {
        for (size_t i = 0; i < rank; i++)
            order.push_back(static_cast<TensorImpl::DimOrderType>(i));
    }
};

static std::string reason;

extern "C" const char *et_error(void)
{
    return reason.c_str();
}

/* State is where loading put it, so it is zero again after loading anew. */
extern "C" void et_reset(void *context)
{
    Network *n = static_cast<Network *>(context);
    n->module.unload_method("forward");
    n->failed = n->module.load_method("forward") != executorch::runtime::Error::Ok;
    auto method = n->module.method("forward");
    n->method = method.ok() ? method.get() : nullptr;
    n->failed = n->failed || !n->method;
}

extern "C" void *et_open(const char *path, const int64_t *shape, size_t rank)
{
    executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(1);
    Network *n = new Network(path, shape, rank);
    et_reset(n);
    if (n->failed)
        reason = "the program does not load";
    return n->failed ? nullptr : n;
}

extern "C" void et_call(void *context, const float *in, float *out)
{
    Network *n = static_cast<Network *>(context);
    TensorImpl input(ScalarType::Float, static_cast<ssize_t>(n->sizes.size()), n->sizes.data(),
                     const_cast<float *>(in), n->order.data());
    if (n->method->set_input(EValue(executorch::aten::Tensor(&input)), 0) != executorch::runtime::Error::Ok ||
        n->method->execute() != executorch::runtime::Error::Ok) {
        n->failed = true;
        return;
    }
    const auto &made = n->method->get_output(0).toTensor();
    std::memcpy(out, made.const_data_ptr<float>(), made.nbytes());
}

extern "C" int et_failed(const void *context)
{
    return static_cast<const Network *>(context)->failed;
}
