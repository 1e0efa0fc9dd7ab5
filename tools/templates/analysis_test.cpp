// Tests of the analysis "KD_NAME_HERE", with a stand-in for what the engine gives it.
#include "kd/analysis.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "kd/diagnostics.h"
#include "kd/plugin.h"

namespace {

/// Two networks, three classes, four samples: the first network is right on three, the second on none.
class TwoNetworks final : public kd::AnalysisContext {
 public:
  const std::vector<kd::AnalysedNetwork>& networks() const override { return networks_; }
  kd::AnalysedNetwork load(const std::string& run, const std::string&, const std::string&) override {
    throw kd::FileError(run + " is no run of this test");
  }
  void write(const std::string& file_name, const std::string& text) override { files[file_name] = text; }
  void print(const std::string& text) override { printed += text; }

  std::map<std::string, std::string> files;
  std::string printed;

 private:
  const at::Tensor labels_ = at::tensor({0, 1, 2, 2}, at::kLong);
  const at::Tensor first_ = at::tensor({9.F, 1.F, 0.F, 1.F, 9.F, 0.F, 1.F, 0.F, 9.F, 9.F, 0.F, 1.F}).view({4, 3});
  const at::Tensor second_ = at::tensor({1.F, 9.F, 0.F, 9.F, 1.F, 0.F, 9.F, 1.F, 0.F, 9.F, 1.F, 0.F}).view({4, 3});
  const std::vector<std::string> names_{"a", "b", "c"};
  const std::vector<kd::AnalysedNetwork> networks_{{"one", "teacher", names_, first_, labels_, {}, {}},
                                                   {"two", "student", names_, second_, labels_, {}, {}}};
};

TEST(KdClassHere, WritesOneLinePerNetwork) {
  kd::load_plugins();
  TwoNetworks context;
  kd::make<kd::Analysis>("{ type = 'KD_NAME_HERE' }")->run(context);
  const std::string table = "stage,network,accuracy\none,teacher,0.75\ntwo,student,0\n";
  EXPECT_EQ(context.files.at("KD_NAME_HERE.csv"), table);
  EXPECT_EQ(context.printed, table);
}

TEST(KdClassHere, CountsTheSecondAnswerWithKOfTwo) {
  kd::load_plugins();
  TwoNetworks context;
  kd::make<kd::Analysis>("{ type = 'KD_NAME_HERE', k = 2 }")->run(context);
  EXPECT_EQ(context.files.at("KD_NAME_HERE.csv"), "stage,network,accuracy\none,teacher,1\ntwo,student,0.5\n");
}

}  // namespace
