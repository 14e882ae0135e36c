//! Recipes that ship with the program, by name.

use crate::RecipeText;

/// A recipe embedded in the program.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// What `--recipe` and `extends` call it.
    pub name: &'static str,
    /// TOML, as in `presets/NAME.toml`.
    pub text: &'static str,
}

impl Preset {
    /// The text under the name that messages show.
    pub fn recipe_text(&self) -> RecipeText {
        RecipeText::new(format!("preset {}", self.name), self.text)
    }
}

/// Every preset; one file in `presets/` and one line here each.
pub const PRESETS: &[Preset] = &[
    Preset { name: "int8", text: include_str!("../presets/int8.toml") },
    Preset { name: "int8-dynamic", text: include_str!("../presets/int8-dynamic.toml") },
    Preset { name: "int8-weights", text: include_str!("../presets/int8-weights.toml") },
    Preset { name: "int4-weights", text: include_str!("../presets/int4-weights.toml") },
    Preset { name: "prune50", text: include_str!("../presets/prune50.toml") },
    Preset { name: "prune70", text: include_str!("../presets/prune70.toml") },
    Preset { name: "prune90", text: include_str!("../presets/prune90.toml") },
    Preset { name: "prune-2of4", text: include_str!("../presets/prune-2of4.toml") },
    Preset { name: "prune-1x4", text: include_str!("../presets/prune-1x4.toml") },
    Preset { name: "prune50-int8", text: include_str!("../presets/prune50-int8.toml") },
    Preset { name: "prune70-int8", text: include_str!("../presets/prune70-int8.toml") },
];
