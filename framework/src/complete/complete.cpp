// complete.h: finds out which command and which of its arguments the last word is, then what fits there.
#include "complete/complete.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "kd/diagnostics.h"
#include "plugin/registry.h"
#include "recipe/copy_recipe.h"
#include "recipe/merge.h"
#include "recipe/settings.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

/// What the words before the last one say.
struct Context {
  const KnownCommand* command = nullptr;
  const KnownOption* waiting = nullptr;             ///< the option whose value comes next
  std::vector<std::string> positionals;             ///< given so far
  std::map<std::string, std::string> options = {};  ///< the last value of each that was given
};

const KnownOption* find_option(const KnownCommand& command, const std::string& name) {
  const auto found = std::find_if(command.options.begin(), command.options.end(),
                                  [&](const KnownOption& option) { return option.name == name; });
  return found == command.options.end() ? nullptr : &*found;
}

const KnownCommand* find_command(const KnownCommand& command, const std::string& name) {
  const auto found = std::find_if(command.commands.begin(), command.commands.end(),
                                  [&](const KnownCommand& one) { return one.name == name; });
  return found == command.commands.end() ? nullptr : &*found;
}

void take_option(Context& context, const std::string& word) {
  const std::size_t equals = word.find('=');
  const KnownOption* option = find_option(*context.command, word.substr(0, equals));
  if (option == nullptr) return;
  if (option->takes_value && equals == std::string::npos) context.waiting = option;
  context.options[option->name] = equals == std::string::npos ? "" : word.substr(equals + 1);
}

void take_word(Context& context, const Known& known, const std::string& word) {
  if (context.waiting != nullptr) {
    context.options[context.waiting->name] = word;
    context.waiting = nullptr;
    return;
  }
  const bool is_program = context.command == &known.program;
  // Options may stand before the recipe that stands for `run`.
  if (is_program && word.starts_with("-")) {
    if (const KnownCommand* run = find_command(known.program, "run")) {
      context.command = run;
      take_option(context, word);
      if (context.waiting == nullptr) context.command = &known.program;
    }
    return;
  }
  if (word.starts_with("-")) return take_option(context, word);
  const KnownCommand* below = context.positionals.empty() ? find_command(*context.command, word) : nullptr;
  if (below != nullptr) {
    context.command = below;
    return;
  }
  if (is_program && word.ends_with(".toml")) context.command = find_command(known.program, "run");
  if (context.command == nullptr) context.command = &known.program;
  context.positionals.push_back(word);
}

Context read_words(const std::vector<std::string>& words, const Known& known) {
  Context context;
  context.command = &known.program;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) take_word(context, known, words[i]);
  return context;
}

/// The recipe that the words name, with the profiles that they name laid on it; null where it cannot be read.
Value read_named_recipe(const Context& context) {
  const auto& names = context.command->positionals;
  if (context.positionals.empty() || names.empty() || names.front() != "recipe") return {};
  try {
    Value recipe = read_with_bases(context.positionals.front());
    const Value* profiles = recipe.find("profile");
    const auto given = context.options.find("--profile");
    if (profiles == nullptr || given == context.options.end()) return recipe;
    Diagnostics ignored;
    std::istringstream stream(given->second);
    for (std::string name; std::getline(stream, name, ',');) {
      if (const Value* profile = profiles->find(name)) merge(recipe, Value(*profile), ignored);
    }
    return recipe;
  } catch (const Error&) {
    return {};
  }
}

std::vector<Candidate> plain(const std::vector<std::string>& words) {
  std::vector<Candidate> candidates;
  for (const std::string& word : words) candidates.push_back({word, ""});
  return candidates;
}

std::vector<Candidate> profiles(const Value& recipe, const std::string& typed) {
  std::vector<Candidate> candidates;
  const Value* table = recipe.find("profile");
  if (table == nullptr || !table->is_table()) return candidates;
  // Several have commas between them: what stands before the last stays.
  const std::size_t comma = typed.rfind(',');
  const std::string before = comma == std::string::npos ? "" : typed.substr(0, comma + 1);
  for (const Member& profile : table->as_table()) candidates.push_back({before + profile.key, ""});
  return candidates;
}

std::vector<Candidate> stage_names(const Value& recipe) {
  std::vector<Candidate> candidates;
  const Value* stages = recipe.find("stage");
  if (stages == nullptr || !stages->is_list()) return candidates;
  for (const Value& stage : stages->as_list()) {
    const Value* name = stage.find("name");
    if (name != nullptr && name->is_string()) candidates.push_back({name->as_string(), ""});
  }
  return candidates;
}

/// The keys of overrides without their "=".
std::vector<Candidate> setting_names(const std::string& typed, const Value& recipe, const Known& known) {
  std::vector<Candidate> candidates = complete_override(typed, recipe, known);
  for (Candidate& candidate : candidates) {
    if (candidate.word.ends_with("=")) candidate.word.pop_back();
  }
  return candidates;
}

std::vector<fs::path> items_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> items;
  for (const auto& item : fs::directory_iterator(folder.empty() ? "." : folder, error))
    items.push_back(folder / item.path().filename());
  std::sort(items.begin(), items.end());
  return items;
}

/// Recipes and folders that `typed` may become.
std::vector<Candidate> recipe_files(const std::string& typed) {
  std::vector<Candidate> candidates;
  const fs::path folder = fs::path(typed).parent_path();
  for (const fs::path& item : items_of(folder)) {
    std::error_code error;
    const bool hidden =
        item.filename().string().starts_with(".") && !fs::path(typed).filename().string().starts_with(".");
    if (hidden) continue;
    if (fs::is_directory(item, error)) candidates.push_back({item.string() + "/", ""});
    if (item.extension() == ".toml") candidates.push_back({item.string(), ""});
  }
  return candidates;
}

/// Run folders, and behind one of them its stages. Folders alone are looked at: this must not take long.
std::vector<Candidate> run_folders(const Context& context, const std::string& typed) {
  const auto given = context.options.find("--run-dir");
  const fs::path runs = given == context.options.end() ? "runs" : given->second;
  std::vector<Candidate> candidates;
  for (const fs::path& recipe : items_of(runs)) {
    if (recipe.filename().string().starts_with(".")) continue;
    for (const fs::path& run : items_of(recipe)) {
      std::error_code error;
      if (!fs::exists(run / "run.json", error)) continue;
      candidates.push_back({run.string(), ""});
      if (!typed.starts_with(run.string() + "/")) continue;
      for (const fs::path& stage : items_of(run / "stages")) candidates.push_back({stage.string(), "a stage"});
    }
  }
  return candidates;
}

std::vector<Candidate> kinds(bool with_tables) {
  std::vector<Candidate> candidates = plain(component_kinds());
  if (!with_tables) return candidates;
  for (const RecipeSection& section : recipe_sections()) candidates.push_back({section.name, section.help});
  return candidates;
}

std::vector<Candidate> components(const Known& known, const std::string& kind) {
  std::vector<Candidate> candidates;
  for (const KnownComponent& component : known.components) {
    if (component.kind == kind) candidates.push_back({component.name, component.help});
  }
  return candidates;
}

std::vector<Candidate> recipes_to_copy(const Known& known) {
  std::vector<Candidate> candidates;
  if (known.recipe_folder.empty()) return candidates;
  for (const ShippedRecipe& recipe : shipped_recipes(known.recipe_folder))
    candidates.push_back({recipe.name, recipe.title});
  return candidates;
}

std::vector<Candidate> names_of_runs(const Context& context) {
  std::vector<Candidate> candidates;
  for (const Candidate& run : run_folders(context, ""))
    candidates.push_back({fs::path(run.word).parent_path().filename().string(), ""});
  return candidates;
}

/// What the value of `option` may be.
Completion values(const KnownOption& option, const Context& context, const std::string& typed, const Known& known) {
  const std::string& name = option.name;
  if (!option.choices.empty()) return {plain(option.choices), false};
  if (name == "--profile") return {profiles(read_named_recipe(context), typed), false};
  if (name == "--stage") return {stage_names(read_named_recipe(context)), false};
  if (name == "--explain") return {setting_names(typed, read_named_recipe(context), known), false};
  if (name == "--grid" || name == "--zip") return {complete_override(typed, read_named_recipe(context), known), false};
  if (name == "--device") return {plain({"auto", "cpu", "cuda"}), false};
  if (name == "--recipe") return {names_of_runs(context), false};
  return {{}, true};
}

/// What the next argument without a name may be.
Completion positional(const Context& context, const std::string& typed, const Known& known) {
  const KnownCommand& command = *context.command;
  if (command.positionals.empty()) return {};
  const std::size_t index = std::min(context.positionals.size(), command.positionals.size() - 1);
  const std::string& name = command.positionals[index];
  if (name == "recipe" && command.name == "copy") return {recipes_to_copy(known), false};
  if (name == "recipe") return {recipe_files(typed), false};
  if (name == "overrides") return {complete_override(typed, read_named_recipe(context), known), false};
  if (name == "kind") return {kinds(command.name == "describe"), false};
  if (name == "name" && command.name == "describe") return {components(known, context.positionals.front()), false};
  if (name == "name" && (command.name == "fetch" || command.name == "verify")) return {plain(known.data_sets), false};
  if (name == "run") return {run_folders(context, typed), true};
  if (name == "shell") return {plain({"bash", "zsh", "fish"}), false};
  return {{}, true};
}

Completion options_of(const Context& context, const std::string& typed, const Known& known) {
  const std::size_t equals = typed.find('=');
  Completion completion;
  // Those of `run` may stand before the recipe that stands for it.
  const KnownCommand* run = context.command == &known.program ? find_command(known.program, "run") : nullptr;
  for (const KnownCommand* command : {context.command, run}) {
    if (command == nullptr) continue;
    if (equals == std::string::npos) {
      for (const KnownOption& option : command->options) completion.candidates.push_back({option.name, option.help});
    } else if (const KnownOption* option = find_option(*command, typed.substr(0, equals))) {
      completion = values(*option, context, typed.substr(equals + 1), known);
      for (Candidate& candidate : completion.candidates) candidate.word.insert(0, typed.substr(0, equals + 1));
      completion.files = false;  // no shell looks for files behind "--out="
    }
  }
  return completion;
}

Completion all_that_fits(const Context& context, const std::string& typed, const Known& known) {
  if (context.waiting != nullptr) return values(*context.waiting, context, typed, known);
  if (typed.starts_with("-")) return options_of(context, typed, known);
  Completion completion = positional(context, typed, known);
  if (!context.positionals.empty()) return completion;
  if (context.command == &known.program) completion.candidates = recipe_files(typed);
  for (const KnownCommand& command : context.command->commands)
    completion.candidates.push_back({command.name, command.help});
  return completion;
}

}  // namespace

Completion complete(const std::vector<std::string>& words, const Known& known) {
  const std::string typed = words.empty() ? "" : words.back();
  Completion completion = all_that_fits(read_words(words, known), typed, known);
  std::vector<Candidate>& candidates = completion.candidates;
  std::set<std::string> seen;
  std::erase_if(candidates,
                [&](const Candidate& one) { return !one.word.starts_with(typed) || !seen.insert(one.word).second; });
  return completion;
}

std::string to_lines(const Completion& completion) {
  std::string text;
  for (const Candidate& candidate : completion.candidates) {
    const std::string help = candidate.help.substr(0, candidate.help.find('\n'));
    text += candidate.word + (help.empty() ? "" : "\t" + help) + "\n";
  }
  return text + (completion.files ? ":files\n" : "");
}

}  // namespace kd
