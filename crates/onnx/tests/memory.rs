//! What decoding takes, measured at the allocator. One test, so that nothing else allocates meanwhile.

use bytes::Bytes;
use lissom_onnx::{ReadError, ReadLimits, ReadOptions, read_model_bytes};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A length-delimited field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

/// A model of about `n_bytes` that repeats `unit` inside of the graph, within the fields of `path`.
fn flood(path: &[u32], unit: &[u8], n_bytes: usize) -> Bytes {
    let mut content = unit.repeat(n_bytes / unit.len());
    for &number in path.iter().rev() {
        content = field(number, &content);
    }
    [vec![8, 8], field(7, &content)].concat().into()
}

fn floods() -> Vec<(&'static str, Bytes)> {
    const MIB: usize = 1 << 20;
    vec![
        ("empty nodes", flood(&[], &[10, 0], 8 * MIB)),
        ("empty initializers", flood(&[], &[42, 0], MIB)),
        ("empty sparse initializers", flood(&[], &[122, 0], MIB)),
        ("empty value infos", flood(&[], &[106, 0], MIB)),
        ("empty attributes", flood(&[1], &[42, 0], MIB)),
        ("nodes with an empty attribute each", flood(&[], &[10, 2, 42, 0], MIB)),
        ("nodes with an empty tensor each", flood(&[], &[10, 4, 42, 2, 42, 0], MIB)),
        ("attributes with an empty graph each", flood(&[1], &[42, 2, 50, 0], MIB)),
        ("graphs in an attribute", flood(&[1, 5], &[90, 0], MIB)),
        ("empty names", flood(&[1], &[10, 0], MIB)),
        ("empty strings of an attribute", flood(&[1, 5], &[74, 0], MIB)),
        ("packed small numbers", flood(&[5, 7], &[1], MIB)),
        ("unpacked small numbers", flood(&[1, 5], &[64, 1], MIB)),
        ("empty axes", flood(&[11, 2, 1, 2], &[10, 0], MIB)),
        ("types within types", flood(&[1, 5], &[122, 4, 34, 2, 10, 0], MIB)),
    ]
}

fn read(bytes: &Bytes, limits: ReadLimits) -> Result<(), ReadError> {
    read_model_bytes(bytes.clone(), &ReadOptions { limits, ..ReadOptions::default() }).map(drop)
}

/// The largest amount held at once while `body` ran, beyond what was held before.
fn peak_bytes(body: impl FnOnce()) -> u64 {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    body();
    ALLOCATOR.peak_usage().saturating_sub(before) as u64
}

#[test]
fn reading_takes_no_more_than_was_counted_before_and_floods_are_refused() {
    let unlimited = ReadLimits { memory_multiple: u64::MAX, ..ReadLimits::default() };
    let nothing = ReadLimits { memory_multiple: 0, memory_floor_bytes: 0, ..ReadLimits::default() };
    for (name, bytes) in floods() {
        let counted = match read(&bytes, nothing) {
            Err(ReadError::TooManyElements { needed_bytes, .. }) => needed_bytes,
            other => panic!("{name}: {other:?}"),
        };
        let taken = peak_bytes(|| read(&bytes, unlimited).unwrap());
        assert!(taken <= counted, "{name}: {taken} bytes taken, {counted} counted");
        assert!(counted <= 3 * taken, "{name}: {counted} bytes counted, only {taken} taken");

        let limits = ReadLimits::default();
        let limit = limits.memory_multiple * bytes.len() as u64 + limits.memory_floor_bytes;
        let mut result = Ok(());
        let taken = peak_bytes(|| result = read(&bytes, limits));
        assert_eq!(result.is_err(), counted > limit, "{name}");
        assert!(taken <= if counted > limit { 1 << 16 } else { limit }, "{name}: {taken} bytes taken");
    }
    let (_, nodes) = &floods()[0];
    assert!(matches!(read(nodes, ReadLimits::default()), Err(ReadError::TooManyElements { .. })));
}
