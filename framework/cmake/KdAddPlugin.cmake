# kd_add_plugin(NAME [SOURCES files…] [LIBRARIES targets…])
#
# One plugin library from the folder of the calling CMakeLists.txt, with its generated entry point and stamp: every *.cpp
# there, and of every *_test.cpp NAME_test, a GoogleTest program run by ctest. Where there is a folder testdata,
# KD_TESTDATA names it for the tests. Used by the plugins in kdrun's tree and, after find_package(kdrun), by plugins
# anywhere else.
#   SOURCES    these files alone, and no tests
#   LIBRARIES  what it links beside kdrun::sdk

function(kd_add_plugin KD_NAME)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "kd_add_plugin(${KD_NAME}): understands SOURCES and LIBRARIES; got '${ARGN}'")
  endif()
  set(tests "")
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
    set(tests ${ARG_SOURCES})
    list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
    list(FILTER ARG_SOURCES EXCLUDE REGEX "_test\\.cpp$")
  endif()
  set(entry "${CMAKE_CURRENT_BINARY_DIR}/${KD_NAME}_entry.cpp")
  configure_file("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/kd_plugin_entry.cpp.in" "${entry}" @ONLY)
  add_library(${KD_NAME} MODULE ${ARG_SOURCES} "${entry}")
  set_property(GLOBAL APPEND PROPERTY KD_PLUGINS ${KD_NAME})
  target_link_libraries(${KD_NAME} PRIVATE kdrun::sdk ${ARG_LIBRARIES})
  target_compile_definitions(${KD_NAME} PRIVATE KD_SANITIZE="${KDRUN_SANITIZE}" KD_TORCH_VERSION="${KDRUN_TORCH_VERSION}")
  set_target_properties(${KD_NAME} PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib/kdrun/plugins")
  target_compile_features(${KD_NAME} PRIVATE cxx_std_20)
  target_link_options(${KD_NAME} PRIVATE "LINKER:--no-undefined" "LINKER:--version-script=${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map")
  set_property(TARGET ${KD_NAME} APPEND PROPERTY LINK_DEPENDS "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map")
  kd_choose_header(${KD_NAME} kdrun_sdk_header ${ARG_SOURCES})
  # The entry needs none of LibTorch's headers, and would wait for the precompiled one.
  set_source_files_properties("${entry}" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  if(TARGET kdrun_warnings)
    add_dependencies(kdrun_plugins ${KD_NAME})
    target_link_libraries(${KD_NAME} PRIVATE kdrun_warnings)
    install(TARGETS ${KD_NAME} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/kdrun/plugins)
    set_target_properties(${KD_NAME} PROPERTIES INSTALL_RPATH "$ORIGIN/../..;${KDRUN_TORCH}/lib")
  endif()
  if(tests AND BUILD_TESTING)
    kd_add_plugin_test(${KD_NAME} ${tests})
  endif()
endfunction()

# The program of a plugin's tests. It may load every plugin of the tree, so it is built after all of them.
function(kd_add_plugin_test KD_NAME)
  find_package(GTest REQUIRED)
  add_executable(${KD_NAME}_test ${ARGN})
  target_link_libraries(${KD_NAME}_test PRIVATE kdrun::sdk GTest::gtest GTest::gtest_main)
  target_compile_features(${KD_NAME}_test PRIVATE cxx_std_20)
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/testdata")
    target_compile_definitions(${KD_NAME}_test PRIVATE KD_TESTDATA="${CMAKE_CURRENT_SOURCE_DIR}/testdata")
  endif()
  kd_choose_header(${KD_NAME}_test kdrun_test_header ${ARGN})
  add_dependencies(${KD_NAME}_test ${KD_NAME})
  if(TARGET kdrun_warnings)
    target_link_libraries(${KD_NAME}_test PRIVATE kdrun_warnings)
    add_dependencies(${KD_NAME}_test kdrun_plugins)
  endif()
  add_test(NAME plugin.${KD_NAME} COMMAND ${KD_NAME}_test)
  # A second thread of a test is waited for wherever another test holds its processor.
  set(environment "KDRUN_PLUGIN_PATH=${CMAKE_BINARY_DIR}/lib/kdrun/plugins;OMP_NUM_THREADS=1")
  set_tests_properties(plugin.${KD_NAME} PROPERTIES ENVIRONMENT "${environment}")
  if(KDRUN_FAKE_CUDA)
    kd_repeat_on_fake_cuda(plugin.${KD_NAME} ${KD_NAME}_test "${environment}")
  endif()
endfunction()

# kd_use_torch_nn(TARGET): compiles a target of this tree that uses torch::nn with the shared precompiled header.
function(kd_use_torch_nn KD_NAME)
  if(TARGET kdrun_torch_header)
    kd_reuse_header(${KD_NAME} kdrun_torch_header)
  endif()
endfunction()

# kd_reuse_header(TARGET OWNER): compiles a target with the precompiled header of another.
function(kd_reuse_header KD_NAME KD_OWNER)
  target_precompile_headers(${KD_NAME} REUSE_FROM ${KD_OWNER})
  # A precompiled header serves only what is compiled with the same options.
  target_compile_options(${KD_NAME} PRIVATE -fpch-preprocess -fPIC)
endfunction()

# kd_choose_header(TARGET OTHERWISE files…): compiles a target with torch::nn's header where its files include torch/nn, or
# the checks of networks, which do; otherwise with that of OTHERWISE, where kdrun's tree has it.
function(kd_choose_header KD_NAME KD_OTHERWISE)
  foreach(file IN LISTS ARGN)
    file(STRINGS "${file}" includes REGEX "^#include .(torch/nn|kd/testing/networks\\.h)" LIMIT_COUNT 1)
    if(includes)
      kd_use_torch_nn(${KD_NAME})
      return()
    endif()
  endforeach()
  if(TARGET ${KD_OTHERWISE})
    kd_reuse_header(${KD_NAME} ${KD_OTHERWISE})
  endif()
endfunction()
