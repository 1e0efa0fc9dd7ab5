// What losses make of fixed features: written to files, for compare_losses.py to hold against plain PyTorch, or timed,
// for tools/benchmark losses.
//
//   loss_values dump FOLDER SIZE < CASES      value, gradients and everything that they follow from, a folder per case
//   loss_values shapes < CASES                 "name<TAB>tensor<TAB>sizes" of what is timed
//   loss_values time ROUNDS PRECISION < CASES  "name<TAB>milliseconds<TAB>MB" of a forward and backward pass: the
//   median, and what
//                                              the first adds to the memory of the process
//
// A line of CASES is "name<TAB>type<TAB>parameters". SIZE: a pair of shapes, "equal", "wider", "larger" or "smaller".
// Timed are the features of resnet32x4 and resnet8x4 for 64 images of CIFAR-100, in fp32 or, under autocast, bf16.
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "kd/random_tensors.h"
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

struct Case {
  std::string name, type, parameters;
};

std::vector<Case> read_cases() {
  std::vector<Case> cases;
  for (std::string line; std::getline(std::cin, line);) {
    const std::size_t first = line.find('\t'), second = line.find('\t', first + 1);
    if (second == std::string::npos) throw kd::Error("not name, type and parameters: " + line);
    cases.push_back({line.substr(0, first), line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return cases;
}

/// A map that a projector has brought to the teacher's channels, as the loss "simkd" wants one.
Shapes with_transferred(Shapes shapes) {
  shapes.student["transferred"] = shapes.student.at("stage3");
  shapes.student["transferred"][0] = shapes.teacher.at("stage3")[0];
  return shapes;
}

Shapes shapes_named(const std::string& name) {
  if (name == "equal") return with_transferred({network_shapes(4, 8), network_shapes(4, 8)});
  if (name == "wider") return with_transferred({network_shapes(4, 8), network_shapes(5, 8)});
  if (name == "larger") return with_transferred({network_shapes(5, 4), network_shapes(3, 8)});
  if (name == "smaller") return with_transferred({network_shapes(4, 16), network_shapes(6, 8)});
  throw kd::Error("no shapes '" + name + "'");
}

/// "double" numbers in files, and index.txt with lines "name<TAB>shape<TAB>file".
class TensorFolder {
 public:
  explicit TensorFolder(const std::filesystem::path& folder) : folder_(folder) {
    std::filesystem::create_directories(folder);
    index_.exceptions(std::ios::failbit | std::ios::badbit);
    index_.open(folder / "index.txt");
  }

  void write(const std::string& name, const at::Tensor& tensor) {
    const at::Tensor values = tensor.detach().to(at::kCPU, at::kDouble).contiguous();
    const std::string file = std::to_string(count_++) + ".bin";
    std::ofstream stream(folder_ / file, std::ios::binary);
    stream.exceptions(std::ios::failbit | std::ios::badbit);
    stream.write(reinterpret_cast<const char*>(values.const_data_ptr<double>()), values.numel() * 8);
    index_ << name << '\t';
    for (const std::int64_t size : values.sizes()) index_ << size << ' ';
    index_ << '\t' << file << '\n';
  }
  void write_all(const std::string& group, const FeatureMap& tensors) {
    for (const auto& [name, tensor] : tensors) write(group + "/" + name, tensor);
  }

 private:
  std::filesystem::path folder_;
  std::ofstream index_;
  int count_ = 0;
};

void dump(const Case& one, const Shapes& shapes, const std::filesystem::path& path) {
  Setting setting(one.type, one.parameters, shapes, 6);
  setting.make_double();
  for (auto& [name, parameter] : kd::testing::parameters_of(setting.loss())) {
    // Away from zeros and ones, which would hide a shift or a scale that is left out.
    const at::NoGradGuard no_gradient;
    if (parameter.dim() == 1 && parameter.size(0) > 1)
      parameter.add_(kd::testing::normal(parameter.sizes(), 400).to(at::kDouble), 0.1);
  }
  TensorFolder folder(path);
  folder.write_all("student", setting.student);
  folder.write_all("teacher", setting.teacher);
  folder.write_all("parameter", kd::testing::parameters_of(setting.loss()));
  folder.write_all("buffer", kd::testing::buffers_of(setting.loss()));
  folder.write("labels", setting.batch.targets.labels);
  folder.write("index", setting.batch.index);
  folder.write("student_head", setting.student_head().weight());
  folder.write("teacher_head", setting.teacher_head().weight());
  for (const auto& [name, feature] : setting.teacher) {
    if (!name.ends_with("_pre")) continue;
    const kd::BatchNormAffine norm = setting.teacher_head().batch_norm(name);
    folder.write("batch_norm/" + name + "/scale", norm.scale);
    folder.write("batch_norm/" + name + "/shift", norm.shift);
  }
  folder.write("draw/negatives", kd::random_uniform(setting.key.with("negatives"), setting.batch.index, kSamples));
  folder.write("draw/noise", kd::random_normal(setting.key.with("noise"), setting.batch.index, 3 * kClasses));
  FeatureMap leaves;
  for (const auto& [name, feature] : setting.student) leaves[name] = feature.clone().requires_grad_(true);
  std::vector<std::pair<std::string, at::Tensor>> inputs(leaves.begin(), leaves.end());
  for (auto& [name, leaf] : inputs) name = "student/" + name;
  for (const auto& [name, parameter] : kd::testing::parameters_of(setting.loss()))
    inputs.emplace_back("parameter/" + name, parameter);
  const at::Tensor value = setting.value(leaves, setting.teacher);
  folder.write("value", value);
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : inputs) tensors.push_back(tensor);
  const auto gradients = torch::autograd::grad({value}, tensors, {}, {}, false, /*allow_unused=*/true);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    folder.write("gradient/" + inputs[i].first,
                 gradients[i].defined() ? gradients[i] : at::zeros_like(inputs[i].second));
}

/// resnet8x4 with resnet32x4 as its teacher.
Shapes benchmark_shapes() {
  const kd::TapShapes taps{{"stem", {32, 32, 32}},        {"stage1_pre", {64, 32, 32}}, {"stage1", {64, 32, 32}},
                           {"stage2_pre", {128, 16, 16}}, {"stage2", {128, 16, 16}},    {"stage3_pre", {256, 8, 8}},
                           {"stage3", {256, 8, 8}},       {"transferred", {256, 8, 8}}, {"pooled", {256}},
                           {"logits", {kClasses}}};
  return {taps, taps};
}

Setting benchmark_setting(const Case& one) {
  return Setting(one.type, one.parameters, benchmark_shapes(), 64, {.classes = 100, .samples = 50000});
}

void print_shapes(const Case& one) {
  Setting setting = benchmark_setting(one);
  const auto print = [&](const std::string& group, const FeatureMap& tensors) {
    for (const auto& [name, tensor] : tensors) {
      std::cout << one.name << '\t' << group << '/' << name << '\t';
      for (const std::int64_t size : tensor.sizes()) std::cout << size << ' ';
      std::cout << '\n';
    }
  };
  print("student", setting.student);
  print("teacher", setting.teacher);
  print("parameter", kd::testing::parameters_of(setting.loss()));
  print("buffer", kd::testing::buffers_of(setting.loss()));
}

/// The most memory that the process has had.
double most_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

double milliseconds_of_pass(Setting& setting, bool bfloat16) {
  FeatureMap leaves;
  std::vector<at::Tensor> inputs;
  for (const auto& [name, feature] : setting.student)
    inputs.push_back(leaves[name] = feature.detach().requires_grad_(true));
  for (const auto& [name, parameter] : kd::testing::parameters_of(setting.loss())) inputs.push_back(parameter);
  const auto begin = std::chrono::steady_clock::now();
  at::Tensor value;
  if (bfloat16) {
    const kd::testing::Autocast autocast(at::kCPU);
    value = setting.step(leaves, setting.teacher);
  } else {
    value = setting.step(leaves, setting.teacher);
  }
  torch::autograd::grad({value}, inputs, {}, {}, false, /*allow_unused=*/true);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

void time(const Case& one, int rounds, bool bfloat16) {
  Setting setting = benchmark_setting(one);
  for (FeatureMap* features : {&setting.student, &setting.teacher}) {
    for (auto& [name, feature] : *features) {
      if (feature.dim() == 4) feature = feature.contiguous(at::MemoryFormat::ChannelsLast);  // as networks give them
      if (bfloat16 && name != "logits") feature = feature.to(at::kBFloat16);
    }
  }
  const double before = most_megabytes();
  milliseconds_of_pass(setting, bfloat16);
  const double added = most_megabytes() - before;
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) times.push_back(milliseconds_of_pass(setting, bfloat16));
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  std::cout << one.name << '\t' << times[static_cast<std::size_t>(rounds / 2)] << '\t' << added << std::endl;
}

void run(const std::string& what, const std::string& first, const std::string& second) {
  at::set_num_threads(1);
  for (const std::string& refusal : kd::load_plugins()) std::cerr << refusal << '\n';
  int number = 0;
  for (const Case& one : read_cases()) {
    if (what == "shapes") {
      print_shapes(one);
    } else if (what == "time") {
      time(one, std::stoi(first), second == "bf16");
    } else {
      dump(one, shapes_named(second), std::filesystem::path(first) / std::to_string(number++));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (!(what == "shapes" && argc == 2) && !((what == "dump" || what == "time") && argc == 4)) {
    std::cerr << "usage: loss_values dump FOLDER SIZE | loss_values shapes | loss_values time ROUNDS fp32|bf16\n";
    return 2;
  }
  try {
    run(what, argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
  } catch (const std::exception& error) {
    std::cerr << "loss_values: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
