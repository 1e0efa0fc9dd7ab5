# Writes a C++ file with the bytes of files:  cmake -DOUTPUT=… -DASSETS=NAME=FILE|NAME=FILE… -P WriteAssets.cmake
string(REPLACE "|" ";" assets "${ASSETS}")
set(text "// Made by the build from the files that it names.\n#include \"report/assets.h\"\n\nnamespace kd {\n")
foreach(asset IN LISTS assets)
  string(REGEX REPLACE "=.*" "" name "${asset}")
  string(REGEX REPLACE "^[^=]*=" "" file "${asset}")
  file(READ "${file}" bytes HEX)
  string(REGEX REPLACE "(..)" "\\\\x\\1" bytes "${bytes}")
  # A literal of several, as long as every compiler takes them.
  string(REGEX REPLACE "((\\\\x..){60})" "\\1\"\n\"" bytes "${bytes}")
  file(SIZE "${file}" size)
  string(APPEND text "\nstd::string_view ${name}() {\n  static constexpr char bytes[] =\n\"${bytes}\";\n  return {bytes, ${size}};\n}\n")
endforeach()
file(WRITE "${OUTPUT}" "${text}\n}  // namespace kd\n")
