// kd/assignment.h, as a flow of least cost (LEMON's network simplex): a unit from each row to a column that takes one.
#include "kd/assignment.h"

#include <ATen/ops/isfinite.h>
#include <fmt/format.h>
#include <lemon/network_simplex.h>
#include <lemon/smart_graph.h>

#include <cmath>

#include "kd/diagnostics.h"

namespace kd {

std::vector<std::int64_t> best_assignment(const at::Tensor& gains) {
  using Graph = lemon::SmartDigraph;
  if (gains.dim() != 2 || gains.size(0) > gains.size(1))
    throw Error(fmt::format("an assignment wants rows×columns with no more rows than columns, and this is {}",
                            c10::str(gains.sizes())));
  if (!gains.isfinite().all().item<bool>()) throw Error("an assignment wants gains that are finite");
  const std::int64_t rows = gains.size(0), columns = gains.size(1);
  if (rows == 0) return {};
  const at::Tensor numbers = gains.detach().to(at::kCPU, at::kDouble).contiguous();
  const double highest = numbers.max().item<double>();
  const double range = highest - numbers.min().item<double>();
  const double steps = range > 0 ? 1e6 / range : 0;

  Graph graph;
  graph.reserveNode(static_cast<int>(rows + columns));
  graph.reserveArc(static_cast<int>(rows * columns));
  std::vector<Graph::Node> nodes;
  for (std::int64_t i = 0; i < rows + columns; ++i) nodes.push_back(graph.addNode());
  Graph::NodeMap<int> supply(graph);
  for (std::int64_t i = 0; i < rows + columns; ++i) supply[nodes[static_cast<std::size_t>(i)]] = i < rows ? 1 : -1;
  Graph::ArcMap<std::int64_t> cost(graph);
  const double* gain = numbers.const_data_ptr<double>();
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column, ++gain) {
      const auto arc =
          graph.addArc(nodes[static_cast<std::size_t>(row)], nodes[static_cast<std::size_t>(rows + column)]);
      cost[arc] = 1 + std::llround((highest - *gain) * steps);  // above 0: no row sends more than its one unit
    }
  }
  lemon::NetworkSimplex<Graph, int, std::int64_t> flow(graph);
  flow.costMap(cost).supplyMap(supply).run();
  std::vector<std::int64_t> chosen(static_cast<std::size_t>(rows), -1);
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    if (flow.flow(Graph::arcFromId(static_cast<int>(i))) > 0)
      chosen[static_cast<std::size_t>(i / columns)] = i % columns;
  }
  return chosen;
}

}  // namespace kd
