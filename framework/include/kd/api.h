// Visibility of what crosses the border between kdrun and its plugins. Whether both were built with the same border is
// told by a digest of these headers, which is part of every plugin's stamp.
#pragma once

#define KD_API __attribute__((visibility("default")))
#define KD_LOCAL __attribute__((visibility("hidden")))

#define KD_VERSION "0.1.0"
