// published_names.h
#include "recipe/published_names.h"

#include <algorithm>
#include <cctype>
#include <regex>

namespace kd {

std::string model_of_published_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c != '_' && c != '-') plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  std::smatch match;
  const auto is = [&](const char* pattern) { return std::regex_match(plain, match, std::regex(pattern)); };
  // ResNets of CIFAR have 6n + 2 layers; 18, 34 and 50 are those of ImageNet.
  if (is("resnet(18|34|50)")) return "{ type = \"resnet50\", depth = " + match[1].str() + " }";
  if (is("resnet([0-9]+)")) return "{ type = \"resnet\", depth = " + match[1].str() + " }";
  if (is("resnet([0-9]+)x([0-9]+)"))
    return "{ type = \"resnet\", depth = " + match[1].str() + ", width = " + match[2].str() + " }";
  if (is("wrn(10|16|22|28|40)([0-9]+)") || is("wideresnet(10|16|22|28|40)([0-9]+)"))
    return "{ type = \"wrn\", depth = " + match[1].str() + ", widen = " + match[2].str() + " }";
  if (is("vgg([0-9]+)")) return "{ type = \"vgg\", depth = " + match[1].str() + " }";
  if (is("mobilenetv2|mobilenet2")) return "{ type = \"mobilenet_v2\" }";
  if (is("shufflenet(v1)?|shufflev1")) return "{ type = \"shufflenet_v1\" }";
  if (is("shufflenetv2|shufflev2")) return "{ type = \"shufflenet_v2\" }";
  if (is("lenet")) return "{ type = \"lenet5\" }";
  return "";
}

}  // namespace kd
