// Standard output and error of a program that may run for days: a full disk or a closed terminal must not end it, and
// what could not be written must not look as if it were.
#pragma once

#include <string_view>

namespace kd::cli {

/// Opens what is closed of the descriptors 0 to 2, so that no file of the program takes their place.
void hold_standard_descriptors();

/// Writes to standard error. What cannot be written is let go.
void write_error(std::string_view text) noexcept;

/// Throws kd::Error where something of standard output could not be written.
void flush_output();

}  // namespace kd::cli
