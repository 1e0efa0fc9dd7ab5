// What the build puts into the program for reports: their style, their script, and Chart.js.
#pragma once

#include <string_view>

namespace kd {

std::string_view report_style();
std::string_view report_script();
/// Chart.js of the package libjs-chart.js (MIT), with its licence's line.
std::string_view chart_script();

}  // namespace kd
