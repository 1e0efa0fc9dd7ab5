// Carries the precompiled header of the plugins' tests (framework/CMakeLists.txt); there is nothing else in it.
