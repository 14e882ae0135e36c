//! Text through a tokenizer.

use std::fs;
use std::path::{Path, PathBuf};

use lissom_data::{Batch, DataError, DataSettings, Dataset, InputSpec, Labels, open};
use lissom_tensor::DType;

/// Words a to e are 3 to 7; [CLS] 1 in front, [SEP] 2 behind each text; [PAD] is 0.
const TOKENIZER: &str = r#"{
  "version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [
    {"id": 0, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
  ],
  "normalizer": {"type": "Lowercase"},
  "pre_tokenizer": {"type": "WhitespaceSplit"},
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
             {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
    "special_tokens": {
      "[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
      "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}
    }
  },
  "decoder": null,
  "model": {"type": "WordLevel", "unk_token": "[UNK]",
    "vocab": {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "c": 5, "d": 6, "e": 7, "[UNK]": 8}}
}"#;

struct Files {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn files(name: &str, content: impl AsRef<[u8]>) -> Files {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("words.json"), TOKENIZER).unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    Files { folder, path }
}

fn inputs(len: Option<usize>) -> Vec<InputSpec> {
    ["input_ids", "attention_mask"].map(|name| InputSpec::new(name, DType::I64, [None, len])).into()
}

fn open_with(files: &Files, text: &str, inputs: &[InputSpec]) -> Result<Dataset, DataError> {
    let text = format!("[text]\ntokenizer = \"words.json\"\n{text}");
    let settings = DataSettings::parse(&text, &files.folder.path().join("data.toml"))?;
    open(&files.path, &settings, inputs)
}

fn values(batch: &Batch, input: usize) -> (Vec<usize>, Vec<i64>) {
    let tensor = &batch.inputs[input].1;
    (tensor.shape().to_vec(), tensor.to_i64_vec().unwrap())
}

#[test]
fn lines_become_ids_and_masks_padded_to_the_longest() {
    let files = files("a.txt", "A b\nc d E zebra\n\n");
    let data = open_with(&files, "", &inputs(None)).unwrap();
    assert_eq!((data.len(), data.labels(), data.is_paired()), (2, None, false));
    let batch = data.batch(&[0, 1]).unwrap();
    assert_eq!(values(&batch, 0), (vec![2, 6], vec![1, 3, 4, 2, 0, 0, 1, 5, 6, 7, 8, 2]));
    assert_eq!(values(&batch, 1), (vec![2, 6], vec![1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]));
    assert_eq!(values(&data.batch(&[0]).unwrap(), 0).0, [1, 4]);
}

#[test]
fn long_texts_are_cut_and_fixed_lengths_filled() {
    let files = files("a.txt", "a b c d e\na\n");
    let cut = open_with(&files, "max_tokens = 4\npad_id = 9", &inputs(None)).unwrap();
    assert_eq!(values(&cut.batch(&[0, 1]).unwrap(), 0).1, [1, 3, 4, 2, 1, 3, 2, 9]);
    let fixed = open_with(&files, "", &inputs(Some(5))).unwrap();
    assert_eq!(values(&fixed.batch(&[0]).unwrap(), 0), (vec![1, 5], vec![1, 3, 4, 5, 2]));
    assert_eq!(values(&fixed.batch(&[1]).unwrap(), 0), (vec![1, 5], vec![1, 3, 2, 0, 0]));
    let filled = open_with(&files, "max_tokens = 6\npadding = \"max\"", &inputs(None)).unwrap();
    assert_eq!(values(&filled.batch(&[1]).unwrap(), 0).0, [1, 6]);
    let over = open_with(&files, "max_tokens = 6", &inputs(Some(5))).unwrap_err();
    assert!(over.to_string().contains("6, the model takes rows of 5"), "{over}");
    for few in 0..4 {
        let error = open_with(&files, &format!("max_tokens = {few}"), &inputs(None)).unwrap_err();
        assert!(matches!(error, DataError::Settings { .. }), "{error}");
    }
}

#[test]
fn pairs_are_fed_apart_or_together() {
    let files = files("pairs.tsv", "x\t4.5\ta b\tc\nx\t0.0\td\te \"e\n");
    let columns = "columns = [3, 4]\nscore_column = 2\nscore_range = [0.0, 5.0]";
    let data = open_with(&files, columns, &inputs(None)).unwrap();
    assert!(data.is_paired());
    assert_eq!(data.require_scores().unwrap(), [4.5, 0.0]);
    let batch = data.batch(&[0, 1]).unwrap();
    assert_eq!(values(&batch, 0).1, [1, 3, 4, 2, 1, 6, 2, 0]);
    assert_eq!(batch.second.unwrap()[0].1.to_i64_vec().unwrap(), [1, 5, 2, 0, 1, 7, 8, 2]);
    let mut three = inputs(None);
    three.push(InputSpec::new("token_type_ids", DType::I32, [None, None]));
    let data = open_with(&files, &format!("{columns}\npair = \"together\""), &three).unwrap();
    let batch = data.batch(&[0]).unwrap();
    assert!(batch.second.is_none());
    assert_eq!(values(&batch, 0).1, [1, 3, 4, 2, 5, 2]);
    assert_eq!(values(&batch, 2).1, [0, 0, 0, 0, 1, 1]);
    assert_eq!(batch.inputs[2].1.dtype(), DType::I32);
}

#[test]
fn columns_can_be_named_by_the_first_line() {
    let files = files("reviews.tsv", "review\tstars\na b\t1\nc\t0\n");
    let data = open_with(&files, "columns = [\"review\"]\nlabel_column = \"stars\"", &inputs(None)).unwrap();
    assert_eq!(data.labels(), Some(Labels::Classes(vec![1, 0])));
    let wrong = open_with(&files, "columns = [\"text\"]", &inputs(None)).unwrap_err();
    assert!(wrong.to_string().contains("review"), "{wrong}");
    let silent = open_with(&files, "", &inputs(None)).unwrap_err();
    assert!(silent.to_string().contains("2 columns"), "{silent}");
}

#[test]
fn bad_lines_are_named_by_number() {
    for (content, line, reason) in [
        (&b"a\t1\nb\n"[..], 2, "1 columns"),
        (b"a\t1\nb\tx\n", 2, "no number"),
        (b"a\t1\n\nb\t9\n", 3, "outside 0 to 5"),
        (b"a\tnan\n", 1, "outside"),
        (b"a\t1\n\xff\t1\n", 2, "UTF-8"),
    ] {
        let files = files("a.tsv", content);
        let error =
            open_with(&files, "columns = [1]\nscore_column = 2\nscore_range = [0.0, 5.0]", &inputs(None)).unwrap_err();
        let DataError::Text { line: found, reason: said, .. } = &error else { panic!("{error}") };
        assert!(*found == line && said.contains(reason), "{error}");
    }
    assert!(matches!(open_with(&files("a.txt", "\n"), "", &inputs(None)), Err(DataError::Empty { .. })));
}

#[test]
fn text_needs_a_tokenizer_and_a_model_of_text() {
    let files = files("a.txt", "a\n");
    let none = open(&files.path, &DataSettings::default(), &inputs(None)).unwrap_err();
    assert!(none.to_string().contains("tokenizer"), "{none}");
    let image = [InputSpec::new("input", DType::F32, [None, Some(3), None, None])];
    assert!(matches!(open_with(&files, "", &image), Err(DataError::InputMismatch { .. })));
    fs::write(files.folder.path().join("words.json"), "{").unwrap();
    assert!(matches!(open_with(&files, "", &inputs(None)), Err(DataError::Tokenizer { .. })));
    fs::remove_file(files.folder.path().join("words.json")).unwrap();
    assert!(matches!(open_with(&files, "", &inputs(None)), Err(DataError::Read { .. })));
}

#[test]
fn the_hash_depends_on_text_and_tokenizer() {
    let files = files("a.txt", "a\nb\n");
    let hash = |files: &Files| open_with(files, "", &inputs(None)).unwrap().hash().unwrap();
    let before = hash(&files);
    fs::write(files.folder.path().join("words.json"), TOKENIZER.replace("\"e\": 7", "\"f\": 7")).unwrap();
    assert_ne!(before, hash(&files));
    assert!(Path::new(&files.path).exists());
}
