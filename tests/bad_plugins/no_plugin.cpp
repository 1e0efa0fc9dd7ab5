// A shared library that has nothing to do with kdrun. If kdrun ever runs its code, the process is over.
#include <cstdlib>

namespace {

[[gnu::constructor]] void end_the_process() { std::abort(); }

}  // namespace
