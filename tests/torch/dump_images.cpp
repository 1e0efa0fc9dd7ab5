// Reads and resizes images and writes their bytes to files, for compare_images.py to hold against Pillow.
//
//   dump_images LIST
//
// Lines of LIST: "IN OUT", or "IN OUT HEIGHT WIDTH FILTER LEFT TOP RIGHT BOTTOM". OUT receives the image, a channel
// after the other, or no file where it cannot be read, and the error goes to stdout.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "kd/dataset.h"
#include "kd/diagnostics.h"
#include "kd/images.h"

namespace {

kd::Interpolation parse_filter(const std::string& name) {
  if (name == "bilinear") return kd::Interpolation::kBilinear;
  if (name == "bicubic") return kd::Interpolation::kBicubic;
  if (name == "nearest") return kd::Interpolation::kNearest;
  throw kd::Error("no filter: " + name);
}

void dump(const std::string& line) {
  std::istringstream words(line);
  std::string in, out, filter;
  words >> in >> out;
  const std::vector<std::uint8_t> bytes = kd::read_data_file(in, "give another LIST");
  at::Tensor image = kd::decode_image(std::as_bytes(std::span(bytes)), in);
  std::int64_t height = 0, width = 0;
  kd::ImageBox box;
  if (words >> height >> width >> filter >> box.left >> box.top >> box.right >> box.bottom) {
    image = kd::resize_image(image, height, width, parse_filter(filter), box);
  }
  std::ofstream stream(out, std::ios::binary);
  stream.exceptions(std::ios::failbit | std::ios::badbit);
  stream.write(reinterpret_cast<const char*>(image.const_data_ptr<std::uint8_t>()), image.numel());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: dump_images LIST\n";
    return 2;
  }
  std::ifstream list(argv[1]);
  for (std::string line; std::getline(list, line);) {
    try {
      dump(line);
    } catch (const std::exception& error) {
      std::cout << error.what() << '\n';
    }
  }
  return 0;
}
