// Carries the precompiled header of the SDK (framework/CMakeLists.txt); there is nothing else in it.
