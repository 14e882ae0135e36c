//! Every way a recipe can be wrong, and the words it is told in.

mod catalog;

use std::fmt::Write;

use catalog::Catalog;
use lissom_recipe::{ExitCode, LayerFilter, Recipe, RecipeText, Settings};

/// What is wrong, and a recipe that is.
const WRONG: &[(&str, &str)] = &[
    ("not TOML", "[[step]\nmethod = 'magnitude'"),
    ("unclosed text", "[[step]]\nmethod = \"magnitude\nsparsity = 0.5"),
    ("key twice", "[[step]]\nmethod = 'magnitude'\nmethod = 'quantize'"),
    ("nothing", ""),
    ("only a comment", "# later\n"),
    ("unknown top key", "descripton = 'mine'\n[[step]]\nmethod = 'magnitude'"),
    ("far top key", "zzz = 1"),
    ("name of wrong type", "name = 3"),
    ("step as one table", "[step]\nmethod = 'magnitude'"),
    ("step as text", "step = ['magnitude']"),
    ("step without method", "[[step]]\nsparsity = 0.5"),
    ("method of wrong type", "[[step]]\nmethod = 1"),
    ("misspelt method", "# mine\n[[step]]\n  method = \"magnitud\"\n  sparsity = 0.5"),
    ("unknown method", "[[step]]\nmethod = 'banana'"),
    ("misspelt key", "[[step]]\nmethod = 'magnitude'\nsparsty = 0.7"),
    ("unknown key", "[[step]]\nmethod = 'magnitude'\nsparsity = 0.7\ncolour = 'red'"),
    ("missing key", "[[step]]\nmethod = 'magnitude'"),
    ("misspelt word", "[[step]]\nmethod = 'magnitude'\nsparsity = 0.7\nallocate = 'globl'"),
    ("unknown word", "[[step]]\nmethod = 'magnitude'\nsparsity = 0.7\nallocate = 'fairly'"),
    ("number for a word", "[[step]]\nmethod = 'magnitude'\nsparsity = 0.7\nallocate = 3"),
    ("percent without sign", "[[step]]\nmethod = 'magnitude'\nsparsity = 70"),
    ("sparsity of wrong type", "[[step]]\nmethod = 'magnitude'\nsparsity = true"),
    ("sparsity not a number", "[[step]]\nmethod = 'magnitude'\nsparsity = nan"),
    ("sparsity as a word", "[[step]]\nmethod = 'magnitude'\nsparsity = 'much'"),
    ("blocks without share", "[[step]]\nmethod = 'magnitude'\nsparsity = '1x4'"),
    ("misspelt key in sparsity", "[[step]]\nmethod = 'magnitude'\nsparsity = { fracton = 0.8, pattern = '1x4' }"),
    ("share against pattern", "[[step]]\nmethod = 'magnitude'\nsparsity = { fraction = 0.8, pattern = '2:4' }"),
    ("pattern against sparsity", "[[step]]\nmethod = 'magnitude'\nsparsity = '2:4'\npattern = '1x4'"),
    ("scheme by another name", "[[step]]\nmethod = 'quantize'\nscheme = 'int8'"),
    ("misspelt scheme", "[[step]]\nmethod = 'quantize'\nscheme = 'W8AA8'"),
    ("scheme of nothing", "[[step]]\nmethod = 'quantize'\nscheme = 'W16A16'"),
    ("misspelt key in a table", "[[step]]\nmethod = 'quantize'\nscheme = 'W8A8'\nweights = { granularty = 'channel' }"),
    (
        "misspelt word in a table",
        "[[step]]\nmethod = 'quantize'\nscheme = 'W8A8'\n[step.activations]\ncalibrate = 'mini-max'",
    ),
    ("text for a table", "[[step]]\nmethod = 'quantize'\nscheme = 'W8A8'\nweights = 'channel'"),
    ("number in a list", "[[step]]\nmethod = 'quantize'\nscheme = 'W8A8'\noperators = ['Conv', 3]"),
    ("text for yes or no", "[[step]]\nmethod = 'quantize'\nscheme = 'W8A8'\ndynamic = 'yes'"),
    ("check of the method", "[[step]]\nmethod = 'quantize'\nscheme = 'W8A8'\nactivations = { percentile = 0.999 }"),
    ("negative count", "[[step]]\nmethod = 'reestimate_batch_norm'\nsamples = -1"),
    ("huge count", "[[step]]\nmethod = 'reestimate_batch_norm'\nsamples = 99999999999"),
    ("number of 70 bits", "[[step]]\nmethod = 'reestimate_batch_norm'\nsamples = 999999999999999999999"),
    ("date", "[[step]]\nmethod = 'reestimate_batch_norm'\nsamples = 2026-11-20"),
    ("misspelt layers key", "[[step]]\nmethod = 'bias_correction'\nlayers = { exclud = ['head'] }"),
    ("bad glob", "[[step]]\nmethod = 'bias_correction'\nlayers = { include = ['conv[1'] }"),
    ("bad regex", "[[step]]\nmethod = 'bias_correction'\nlayers = { include = ['conv1', 're:fc(1'] }"),
    ("huge regex", "[[step]]\nmethod = 'bias_correction'\nlayers = 're:(a{1000}){1000}'"),
    ("empty pattern", "[[step]]\nmethod = 'bias_correction'\nlayers = ''"),
    ("layers of wrong type", "[[step]]\nmethod = 'bias_correction'\nlayers = 3"),
    ("layers where none are", "[[step]]\nmethod = 'reestimate_batch_norm'\nsamples = 10\nlayers = 'conv1'"),
    ("misspelt budget", "extends = 'int8'\n[budget]\nmax_dorp = 1"),
    ("budget out of range", "extends = 'int8'\n[budget]\nmax_drop = -1"),
    ("budget of wrong type", "extends = 'int8'\n[budget]\nmax_drop = 'small'"),
    ("size without unit", "extends = 'int8'\n[budget]\ntarget_size = 25"),
    ("latency without unit", "extends = 'int8'\n[budget]\ntarget_latency = 2"),
    ("budget not a table", "extends = 'int8'\nbudget = 3"),
    ("misspelt preset", "extends = 'int-8s'"),
    ("unknown preset", "extends = ['prune50', 'mine.toml']"),
    ("preset of wrong type", "extends = 8"),
    ("without what is not there", "extends = 'prune50'\nwithout = 'bias_correction'"),
    (
        "before what is not there",
        "extends = 'int8'\n[[step]]\nmethod = 'magnitude'\nsparsity = 0.5\nbefore = 'quantise'",
    ),
    ("wrong value over a preset", "extends = 'prune50'\n\n[[step]]\nmethod = 'magnitude'\nallocate = 'erks'"),
];

#[test]
fn every_message_names_the_place_and_the_fix() {
    let mut all = String::new();
    for (what, text) in WRONG {
        let error = Recipe::parse(&RecipeText::new("r.toml", *text), &Catalog).expect_err(what);
        assert_eq!(error.exit_code(), ExitCode::BadInput, "{what}");
        assert!(error.to_string().starts_with("r.toml:"), "{what}: {error}");
        writeln!(all, "# {what}\n{error}").unwrap();
        if let Some(hint) = error.hint() {
            writeln!(all, "hint: {hint}").unwrap();
        }
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn files_that_are_no_recipes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let show = |name: &str| {
        let path = folder.path().join(name);
        let error = Recipe::load(path.to_str().unwrap(), &Catalog).unwrap_err();
        let hint = error.hint().unwrap_or_default();
        let text = format!("{error}\nhint: {hint}\nexit {}", error.exit_code());
        text.replace(&format!("{}/", folder.path().display()), "")
    };
    std::fs::write(folder.path().join("binary.toml"), b"name = 'a'\n\xff\xfe").unwrap();
    std::fs::write(folder.path().join("large.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    std::fs::create_dir(folder.path().join("folder.toml")).unwrap();
    let shown = ["binary.toml", "large.toml", "absent.toml", "folder.toml"].map(show);
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn a_misspelt_preset_on_the_command_line_is_told_so() {
    let error = Recipe::load("int8-dynamc", &Catalog).unwrap_err();
    insta::assert_snapshot!(format!("{error}\nhint: {}", error.hint().unwrap()));
}

#[test]
fn a_layer_pattern_that_matches_nothing_is_told_so() {
    let names = ["layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "/encoder/layer.0/MatMul", "head"];
    let mut all = String::new();
    for layers in ["'layer1.0.conv3'", "'re:^heads$'", "['layer3*', 'tail']", "{ exclude = 'heed' }", "'matmul'"] {
        let settings = Settings::from_toml("r.toml", &format!("layers = {layers}")).unwrap();
        #[derive(serde::Deserialize)]
        struct Only {
            layers: LayerFilter,
        }
        let filter = settings.parse::<Only>().unwrap().layers;
        let error = filter.select(&names).unwrap_err();
        writeln!(all, "{error}\nhint: {}\n", error.hint()).unwrap();
    }
    insta::assert_snapshot!(all);
}
