# LibTorch from the `torch` wheel (or an unpacked libtorch folder), imported directly as target `libtorch`.
#
# find_package(Torch) is not used: for a CUDA wheel it demands nvcc and the whole toolkit, which pure C++ does not need.
# KDRUN_TORCH names the folder; without it, the wheels that tools/setup installs under build/ are looked for.
# Also included by the installed kdrunConfig.cmake, so it must not depend on kdrun's own tree.

option(KDRUN_CUDA "Build against the CUDA wheel" OFF)
if(NOT KDRUN_TORCH)
  set(KDRUN_TORCH "$ENV{KDRUN_TORCH}")
endif()
if(NOT KDRUN_TORCH)
  if(KDRUN_CUDA)
    set(kd_wheels "venv-cuda")
  else()
    set(kd_wheels "venv" "venv-cuda")
  endif()
  foreach(kd_wheel IN LISTS kd_wheels)
    file(GLOB kd_found "${CMAKE_SOURCE_DIR}/build/${kd_wheel}/lib/python3*/site-packages/torch")
    if(kd_found AND NOT KDRUN_TORCH)
      list(GET kd_found 0 KDRUN_TORCH)
    endif()
  endforeach()
endif()
if(NOT EXISTS "${KDRUN_TORCH}/include/torch/csrc/api/include/torch/version.h" AND
   NOT EXISTS "${KDRUN_TORCH}/include/torch/headeronly/version.h")
  message(FATAL_ERROR "LibTorch was not found in '${KDRUN_TORCH}' (looked for in build/: ${kd_wheels}). Run tools/setup, or set KDRUN_TORCH to the 'torch' folder of "
    "an installed wheel or to an unpacked libtorch.")
endif()
set(KDRUN_TORCH "${KDRUN_TORCH}" CACHE PATH "The torch folder of a wheel, or an unpacked libtorch" FORCE)

set(KDRUN_TORCH_VERSION "")
set(kd_header "${KDRUN_TORCH}/include/torch/headeronly/version.h")
if(NOT EXISTS "${kd_header}")
  set(kd_header "${KDRUN_TORCH}/include/torch/csrc/api/include/torch/version.h")
endif()
foreach(kd_part IN ITEMS MAJOR MINOR PATCH)
  file(STRINGS "${kd_header}" kd_line REGEX "define TORCH_VERSION_${kd_part} ")
  string(REGEX MATCH "[0-9]+$" kd_number "${kd_line}")
  string(APPEND KDRUN_TORCH_VERSION "${kd_number}.")
endforeach()
string(REGEX REPLACE "\\.$" "" KDRUN_TORCH_VERSION "${KDRUN_TORCH_VERSION}")

# Every plugin of a larger project finds kdrun for itself; the target is one for all of them.
if(TARGET libtorch)
  return()
endif()

# The wheel ships fmt 12 headers, which would shadow the fmt that spdlog was built with: a folder with only a link to the
# system's comes first.
find_path(KD_FMT_INCLUDE fmt/core.h REQUIRED)
set(kd_fmt_first "${CMAKE_BINARY_DIR}/system_fmt")
file(MAKE_DIRECTORY "${kd_fmt_first}")
file(CREATE_LINK "${KD_FMT_INCLUDE}/fmt" "${kd_fmt_first}/fmt" SYMBOLIC)

add_library(libtorch INTERFACE IMPORTED GLOBAL)
set(kd_libraries c10 torch_cpu torch)
set(kd_includes "${kd_fmt_first}" "${KDRUN_TORCH}/include" "${KDRUN_TORCH}/include/torch/csrc/api/include")
# Per-operator headers: a file then includes the operators that it calls, and compiles in a quarter of the time.
set(kd_definitions USE_DISTRIBUTED USE_C10D_GLOO AT_PER_OPERATOR_HEADERS)
set(kd_options "")
set(KDRUN_TORCH_CUDA OFF)
if(EXISTS "${KDRUN_TORCH}/lib/libtorch_cuda.so")
  set(KDRUN_TORCH_CUDA ON)
  list(APPEND kd_libraries c10_cuda torch_cuda)
  # Libraries that the CUDA libraries need in turn are found by their own run paths on the host that has a GPU.
  list(APPEND kd_options "-Wl,--allow-shlib-undefined")
endif()
set(kd_paths "")
foreach(kd_library IN LISTS kd_libraries)
  list(APPEND kd_paths "${KDRUN_TORCH}/lib/lib${kd_library}.so")
endforeach()
set_target_properties(libtorch PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${kd_includes}"
  INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${kd_includes}"
  INTERFACE_COMPILE_DEFINITIONS "${kd_definitions}"
  INTERFACE_LINK_OPTIONS "${kd_options}"
  INTERFACE_LINK_LIBRARIES "-Wl,--no-as-needed;${kd_paths};-Wl,--as-needed")
message(STATUS "LibTorch ${KDRUN_TORCH_VERSION} (CUDA: ${KDRUN_TORCH_CUDA}) in ${KDRUN_TORCH}")
