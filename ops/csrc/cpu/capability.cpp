// Which vectors these kernels were compiled with; plain arrays if the compiler was not told of any.
#include <torch/library.h>

#include <string>

namespace hrgan {
namespace {

#define HRGAN_TEXT(name) #name
#define HRGAN_NAME(macro) HRGAN_TEXT(macro)

std::string cpu_capability() {
#ifdef CPU_CAPABILITY
  return HRGAN_NAME(CPU_CAPABILITY);
#else
  return "DEFAULT";
#endif
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CompositeExplicitAutograd, m) { m.impl("cpu_capability", cpu_capability); }

}  // namespace hrgan
