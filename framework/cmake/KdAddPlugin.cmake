# kd_add_plugin(NAME [TORCH_NN] SOURCES files… [LIBRARIES targets…] [TESTS files…] [TEST_NEEDS plugins…] [TEST_INTERNALS])
#
# One plugin library, with its generated entry point and stamp. Used by the plugins in kdrun's tree and, after
# find_package(kdrun), by plugins anywhere else.
#   TORCH_NN        its files include torch/nn: in kdrun's tree they share a precompiled header
#   TESTS           makes NAME_test, a GoogleTest program run by ctest; where there is a folder testdata, KD_TESTDATA names it
#   TEST_NEEDS      plugins that the test loads beside this one
#   TEST_INTERNALS  the test includes headers of framework/src (in kdrun's tree only)

function(kd_add_plugin KD_NAME)
  cmake_parse_arguments(ARG "TORCH_NN;TEST_INTERNALS" "" "SOURCES;LIBRARIES;TESTS;TEST_NEEDS" ${ARGN})
  if(NOT ARG_SOURCES OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "kd_add_plugin(${KD_NAME}): want SOURCES, and understand TORCH_NN, LIBRARIES, TESTS, TEST_NEEDS and "
      "TEST_INTERNALS; got '${ARGN}'")
  endif()
  set(entry "${CMAKE_CURRENT_BINARY_DIR}/${KD_NAME}_entry.cpp")
  configure_file("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/kd_plugin_entry.cpp.in" "${entry}" @ONLY)
  add_library(${KD_NAME} MODULE ${ARG_SOURCES} "${entry}")
  target_link_libraries(${KD_NAME} PRIVATE kdrun::sdk ${ARG_LIBRARIES})
  target_compile_definitions(${KD_NAME} PRIVATE KD_SANITIZE="${KDRUN_SANITIZE}" KD_TORCH_VERSION="${KDRUN_TORCH_VERSION}")
  set_target_properties(${KD_NAME} PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib/kdrun/plugins")
  target_compile_features(${KD_NAME} PRIVATE cxx_std_20)
  target_link_options(${KD_NAME} PRIVATE "LINKER:--no-undefined" "LINKER:--version-script=${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map")
  set_property(TARGET ${KD_NAME} APPEND PROPERTY LINK_DEPENDS "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map")
  if(ARG_TORCH_NN)
    kd_use_torch_nn(${KD_NAME})
  endif()
  if(TARGET kdrun_warnings)
    add_dependencies(kdrun_plugins ${KD_NAME})
    target_link_libraries(${KD_NAME} PRIVATE kdrun_warnings)
    install(TARGETS ${KD_NAME} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/kdrun/plugins)
    set_target_properties(${KD_NAME} PROPERTIES INSTALL_RPATH "$ORIGIN/../..;${KDRUN_TORCH}/lib")
  endif()
  if(ARG_TESTS AND BUILD_TESTING)
    kd_add_plugin_test(${KD_NAME}_test "${ARG_TESTS}" "${ARG_TORCH_NN}" "${ARG_TEST_INTERNALS}" ${KD_NAME} ${ARG_TEST_NEEDS})
    add_test(NAME plugin.${KD_NAME} COMMAND ${KD_NAME}_test)
    set(environment "KDRUN_PLUGIN_PATH=${CMAKE_BINARY_DIR}/lib/kdrun/plugins")
    set_tests_properties(plugin.${KD_NAME} PROPERTIES ENVIRONMENT "${environment}")
    if(KDRUN_FAKE_CUDA)
      kd_repeat_on_fake_cuda(plugin.${KD_NAME} ${KD_NAME}_test "${environment}")
    endif()
  endif()
endfunction()

# The program of a plugin's tests, which is built after the plugins that it loads.
function(kd_add_plugin_test KD_NAME KD_FILES KD_TORCH_NN KD_INTERNALS)
  find_package(GTest REQUIRED)
  add_executable(${KD_NAME} ${KD_FILES})
  target_link_libraries(${KD_NAME} PRIVATE kdrun::sdk GTest::gtest GTest::gtest_main)
  target_compile_features(${KD_NAME} PRIVATE cxx_std_20)
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/testdata")
    target_compile_definitions(${KD_NAME} PRIVATE KD_TESTDATA="${CMAKE_CURRENT_SOURCE_DIR}/testdata")
  endif()
  if(KD_TORCH_NN)
    kd_use_torch_nn(${KD_NAME})
  endif()
  if(KD_INTERNALS)
    target_include_directories(${KD_NAME} PRIVATE "${PROJECT_SOURCE_DIR}/framework/src")
  endif()
  if(TARGET kdrun_warnings)
    target_link_libraries(${KD_NAME} PRIVATE kdrun_warnings)
  endif()
  add_dependencies(${KD_NAME} ${ARGN})
endfunction()

# kd_use_torch_nn(TARGET): compiles a target of this tree that uses torch::nn with the shared precompiled header.
function(kd_use_torch_nn KD_NAME)
  if(TARGET kdrun_torch_header)
    target_precompile_headers(${KD_NAME} REUSE_FROM kdrun_torch_header)
    # A precompiled header serves only what is compiled with the same options.
    target_compile_options(${KD_NAME} PRIVATE -fpch-preprocess -fPIC)
  endif()
endfunction()
