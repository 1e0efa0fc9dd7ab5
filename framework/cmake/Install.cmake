# What `cmake --install` gives: the program, the libraries, the SDK's headers, and the package that other projects find.
include(CMakePackageConfigHelpers)
set(KD_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/kdrun)

install(TARGETS kdrun_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kdrun.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(TARGETS kdrun_complete RUNTIME DESTINATION ${CMAKE_INSTALL_LIBDIR}/kdrun)
install(TARGETS kdrun_core kdrun_engine kdrun_sdk EXPORT kdrun LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT kdrun NAMESPACE kdrun:: FILE kdrunTargets.cmake DESTINATION ${KD_PACKAGE_DIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/framework/include/kd DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${KD_GENERATED}/kd/interface_digest.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kd)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tools/templates ${PROJECT_SOURCE_DIR}/recipes DESTINATION share/kdrun)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/kdrunConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/kdrunConfig.cmake
  INSTALL_DESTINATION ${KD_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/kdrunConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kdrunConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/kdrunConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/KdAddPlugin.cmake ${CMAKE_CURRENT_LIST_DIR}/kd_plugin_entry.cpp.in ${CMAKE_CURRENT_LIST_DIR}/plugin.map
  ${PROJECT_SOURCE_DIR}/third_party/LibTorch.cmake DESTINATION ${KD_PACKAGE_DIR})
