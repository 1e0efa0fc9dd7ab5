// Visibility of what crosses the border between kdrun and its plugins, and the version of that border.
#pragma once

#define KD_API __attribute__((visibility("default")))
#define KD_LOCAL __attribute__((visibility("hidden")))

/// Raised whenever a plugin built before the change could misread what it is given.
#define KD_PLUGIN_API_VERSION 1
#define KD_VERSION "0.1.0"
