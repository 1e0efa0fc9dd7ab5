# The fake CUDA device as a library to preload, and the tests once more with it. Included before the first test is added.
add_library(fake_cuda SHARED tests/fake_cuda/accounts.cpp tests/fake_cuda/device.cpp tests/fake_cuda/memory.cpp
  tests/fake_cuda/operators.cpp)
target_link_libraries(fake_cuda PRIVATE libtorch kdrun_warnings)

# kd_repeat_on_fake_cuda(TEST PROGRAM ENVIRONMENT): runs PROGRAM as test cuda.TEST, on the fake device alone.
function(kd_repeat_on_fake_cuda KD_TEST KD_PROGRAM KD_ENVIRONMENT)
  add_dependencies(${KD_PROGRAM} fake_cuda)
  add_test(NAME cuda.${KD_TEST} COMMAND ${KD_PROGRAM})
  set_tests_properties(cuda.${KD_TEST} PROPERTIES ENVIRONMENT "LD_PRELOAD=$<TARGET_FILE:fake_cuda>;KDRUN_TEST_DEVICE=cuda;${KD_ENVIRONMENT}")
endfunction()
