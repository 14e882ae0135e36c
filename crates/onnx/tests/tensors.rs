//! Tensors of every type, from every field they may be in, and those that do not fit together.

use bytes::Bytes;
use lissom_onnx::{
    DataLocation, SparseTensorProto, TensorCause, TensorProto, sparse_tensor_from_proto, tensor_from_proto,
    tensor_proto, tensor_to_proto,
};
use lissom_tensor::{DType, Storage, Tensor, TensorError, bf16, f16};
use proptest::prelude::*;
use prost::Message;

fn proto(dtype: DType, dims: &[i64]) -> TensorProto {
    TensorProto {
        data_type: dtype.to_onnx(),
        dims: dims.to_vec(),
        name: Some("w".to_owned()),
        ..TensorProto::default()
    }
}

fn raw(dtype: DType, dims: &[i64], bytes: &[u8]) -> TensorProto {
    TensorProto { raw_data: Some(Bytes::copy_from_slice(bytes)), ..proto(dtype, dims) }
}

fn int32(dtype: DType, dims: &[i64], values: &[i32]) -> TensorProto {
    TensorProto { int32_data: values.to_vec(), ..proto(dtype, dims) }
}

fn cause(proto: &TensorProto) -> TensorCause {
    let error = tensor_from_proto(proto).unwrap_err();
    assert_eq!(error.tensor, "w");
    assert!(error.to_string().starts_with("tensor `w`: ") && !error.hint().is_empty());
    error.cause
}

#[test]
fn packed_elements_begin_in_the_low_bits_and_odd_counts_are_padded() {
    let cases = [
        (DType::I4, 3, vec![0x78, 0xff], Storage::SmallInt(DType::I4, vec![-8, 7, -1])),
        (DType::U4, 3, vec![0x21, 0x0f], Storage::SmallUint(DType::U4, vec![1, 2, 15])),
        (DType::I2, 5, vec![0b11_00_01_10, 0b01], Storage::SmallInt(DType::I2, vec![-2, 1, 0, -1, 1])),
        (DType::U2, 5, vec![0b11_00_01_10, 0b01], Storage::SmallUint(DType::U2, vec![2, 1, 0, 3, 1])),
        (DType::F4E2M1, 1, vec![0xf7], Storage::SmallFloat(DType::F4E2M1, vec![7])),
    ];
    for (dtype, len, bytes, expected) in cases {
        let from_raw = tensor_from_proto(&raw(dtype, &[len], &bytes)).unwrap();
        assert_eq!(from_raw.storage(), &expected);
        let numbers: Vec<i32> = bytes.iter().map(|&byte| byte.into()).collect();
        assert_eq!(tensor_from_proto(&int32(dtype, &[len], &numbers)).unwrap(), from_raw);
    }
    let odd = Tensor::from_storage(vec![3], Storage::SmallInt(DType::I4, vec![-8, 7, -1])).unwrap();
    assert_eq!(tensor_to_proto("w", &odd).raw_data.unwrap(), [0x78, 0x0f][..]);
}

#[test]
fn short_types_in_int32_data_are_numbers_or_bit_patterns() {
    let read = |proto: &TensorProto| tensor_from_proto(proto).unwrap().into_storage();
    assert_eq!(
        read(&int32(DType::F16, &[2], &[0x3e00, 0xc000])),
        Storage::F16(vec![f16::from_f32(1.5), f16::from_f32(-2.0)])
    );
    assert_eq!(read(&int32(DType::BF16, &[1], &[0x3fc0])), Storage::BF16(vec![bf16::from_f32(1.5)]));
    assert_eq!(read(&int32(DType::F8E5M2, &[2], &[0x3e, -64])), Storage::SmallFloat(DType::F8E5M2, vec![0x3e, 0xc0]));
    assert_eq!(read(&int32(DType::Bool, &[3], &[0, 1, 2])), Storage::Bool(vec![false, true, true]));
    assert_eq!(read(&int32(DType::U8, &[2], &[0, 255])), Storage::U8(vec![0, 255]));
    assert_eq!(read(&int32(DType::I16, &[1], &[-32768])), Storage::I16(vec![-32768]));
}

#[test]
fn complex_numbers_and_large_integers_have_fields_of_their_own() {
    let complex = TensorProto { float_data: vec![1.0, 2.0, 0.0, -1.0], ..proto(DType::C64, &[2]) };
    assert_eq!(tensor_from_proto(&complex).unwrap().as_slice::<[f32; 2]>().unwrap(), [[1.0, 2.0], [0.0, -1.0]]);
    let complex = TensorProto { double_data: vec![1.0, 2.0], ..proto(DType::C128, &[]) };
    assert_eq!(tensor_from_proto(&complex).unwrap().as_slice::<[f64; 2]>().unwrap(), [[1.0, 2.0]]);
    let unsigned = TensorProto { uint64_data: vec![u32::MAX.into()], ..proto(DType::U32, &[1]) };
    assert_eq!(tensor_from_proto(&unsigned).unwrap().as_slice::<u32>().unwrap(), [u32::MAX]);
}

#[test]
fn tensors_without_elements_need_no_data() {
    for dtype in DType::ALL.into_iter().filter(|dtype| dtype.to_onnx().is_some()) {
        let empty = tensor_from_proto(&proto(dtype, &[3, 0])).unwrap();
        assert_eq!((empty.shape(), empty.dtype()), (&[3, 0][..], dtype));
        assert_eq!(tensor_from_proto(&tensor_to_proto("w", &empty)).unwrap(), empty);
    }
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    assert_eq!(cause(&raw(DType::F32, &[2, -1], &[])), TensorCause::Dim { axis: 1, length: -1 });
    let unknown = TensorProto { data_type: Some(99), ..proto(DType::F32, &[1]) };
    assert_eq!(cause(&unknown), TensorCause::DataType { number: 99 });
    assert_eq!(cause(&TensorProto { data_type: None, ..unknown }), TensorCause::DataType { number: 0 });
    for huge in [vec![1 << 40, 1 << 40], vec![1 << 36], vec![i64::MAX]] {
        assert!(matches!(cause(&raw(DType::F32, &huge, &[0; 8])), TensorCause::Tensor(TensorError::TooLarge { .. })));
    }
    // Within the limit, yet nothing of that size is allocated for eight bytes of data.
    let mismatch = cause(&raw(DType::F32, &[1 << 30], &[0; 8]));
    assert!(matches!(mismatch, TensorCause::Length { expected: 0x1_0000_0000, actual: 8, unit: "bytes", .. }));
    assert_eq!(cause(&raw(DType::I4, &[3], &[0; 3])).to_string(), "i4[3] takes 2 bytes of `raw_data`, there are 3");
    assert!(matches!(cause(&proto(DType::F32, &[2])), TensorCause::NoData { .. }));
    assert_eq!(cause(&raw(DType::Str, &[1], &[0])), TensorCause::Field { dtype: DType::Str, field: "raw_data" });
    let value = |value| TensorCause::OutOfRange { index: 1, value, dtype: DType::I8 };
    assert_eq!(cause(&int32(DType::I8, &[2], &[0, 300])), value(300));
    assert!(matches!(cause(&int32(DType::F16, &[1], &[1 << 16])), TensorCause::OutOfRange { .. }));
    assert!(matches!(cause(&int32(DType::F32, &[1], &[1])), TensorCause::Field { field: "int32_data", .. }));
    let both = TensorProto { float_data: vec![1.0], ..raw(DType::F32, &[1], &[0; 4]) };
    assert_eq!(cause(&both), TensorCause::TwoFields { first: "raw_data", second: "float_data" });
    let text = TensorProto { string_data: vec![Bytes::from_static(b"\xff")], ..proto(DType::Str, &[1]) };
    assert_eq!(cause(&text), TensorCause::NotUtf8 { index: 0 });
    let segment = TensorProto { segment: Some(tensor_proto::Segment::default()), ..raw(DType::F32, &[0], &[]) };
    assert_eq!(cause(&segment), TensorCause::Segment);
    let outside = TensorProto { data_location: Some(DataLocation::External.into()), ..proto(DType::F32, &[1]) };
    assert_eq!(cause(&outside), TensorCause::ExternalNotLoaded { location: String::new() });
}

fn sparse(values: &[f32], indices: Tensor, dims: &[i64]) -> SparseTensorProto {
    SparseTensorProto {
        values: Some(tensor_to_proto("w", &Tensor::vector(values.to_vec()))),
        indices: Some(tensor_to_proto("", &indices)),
        dims: dims.to_vec(),
    }
}

fn sparse_cause(values: &[f32], indices: Tensor, dims: &[i64]) -> TensorCause {
    let error = sparse_tensor_from_proto(&sparse(values, indices, dims)).unwrap_err();
    assert_eq!(error.tensor, "w");
    error.cause
}

#[test]
fn sparse_tensors_become_dense() {
    let expected = Tensor::new([2, 3], vec![0.0f32, 5.0, 0.0, 0.0, 6.0, 0.0]).unwrap();
    let flat = Tensor::vector(vec![1i64, 4]);
    assert_eq!(sparse_tensor_from_proto(&sparse(&[5.0, 6.0], flat, &[2, 3])).unwrap(), expected);
    let rows = Tensor::new([2, 2], vec![0i64, 1, 1, 1]).unwrap();
    assert_eq!(sparse_tensor_from_proto(&sparse(&[5.0, 6.0], rows, &[2, 3])).unwrap(), expected);
    let none = sparse(&[], Tensor::vector(Vec::<i64>::new()), &[2]);
    assert_eq!(sparse_tensor_from_proto(&none).unwrap().as_slice::<f32>().unwrap(), [0.0, 0.0]);
}

#[test]
fn sparse_indices_must_be_ascending_and_within_the_shape() {
    let flat = |indices: &[i64]| Tensor::vector(indices.to_vec());
    for outside in [[0, 6], [-1, 2]] {
        let cause = sparse_cause(&[1.0, 2.0], flat(&outside), &[2, 3]);
        assert!(matches!(cause, TensorCause::SparseIndexRange { .. }), "{cause:?}");
    }
    for unordered in [[2, 1], [2, 2]] {
        let cause = sparse_cause(&[1.0, 2.0], flat(&unordered), &[2, 3]);
        assert_eq!(cause, TensorCause::SparseOrder { position: 1 });
    }
    let row_outside = Tensor::new([1, 2], vec![0i64, 3]).unwrap();
    assert!(matches!(sparse_cause(&[1.0], row_outside, &[2, 3]), TensorCause::SparseIndexRange { position: 0, .. }));
    let too_few = sparse_cause(&[1.0, 2.0], flat(&[1]), &[2, 3]);
    assert!(matches!(too_few, TensorCause::SparseIndices { n_values: 2, rank: 2, .. }));
    let not_i64 = sparse_cause(&[1.0], Tensor::vector(vec![1i32]), &[2, 3]);
    assert!(matches!(not_i64, TensorCause::SparseIndices { dtype: DType::I32, .. }));
    let huge = sparse_cause(&[1.0], flat(&[1]), &[1 << 40, 1 << 40]);
    assert!(matches!(huge, TensorCause::Tensor(TensorError::TooLarge { .. })));
    let empty_and_huge = Tensor::new([1, 3], vec![1i64 << 40, 1 << 40, 0]).unwrap();
    let cause = sparse_cause(&[1.0], empty_and_huge, &[1 << 62, 1 << 62, 0]);
    assert!(matches!(cause, TensorCause::Tensor(TensorError::TooLarge { .. })), "{cause:?}");
    let nothing = SparseTensorProto::default();
    assert!(matches!(sparse_tensor_from_proto(&nothing).unwrap_err().cause, TensorCause::DataType { number: 0 }));
}

/// Bytes that are a valid `raw_data` of `len` elements: unused bits zero, bool 0 or 1.
fn clean(dtype: DType, len: usize, mut bytes: Vec<u8>) -> Vec<u8> {
    let used_bits = len * dtype.bits() % 8;
    if let Some(last) = bytes.last_mut().filter(|_| used_bits > 0) {
        *last &= 0xff >> (8 - used_bits);
    }
    if dtype == DType::Bool {
        bytes.iter_mut().for_each(|byte| *byte &= 1);
    }
    bytes
}

proptest! {
    /// Sizes straddle whole bytes of packed types. NaN patterns must survive, so bytes are compared.
    #[test]
    fn every_type_comes_back_bit_for_bit(
        kind in 0..DType::ALL.len(),
        len in 0usize..10,
        noise in prop::collection::vec(any::<u8>(), 160),
    ) {
        let dtype = DType::ALL[kind];
        prop_assume!(dtype.bits() > 0);
        let bytes = clean(dtype, len, noise[..(len * dtype.bits()).div_ceil(8)].to_vec());
        let proto = raw(dtype, &[len as i64], &bytes);
        let tensor = tensor_from_proto(&proto).unwrap();
        prop_assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[len][..]));
        prop_assert_eq!(tensor_to_proto("w", &tensor), proto);
    }

    #[test]
    fn strings_come_back(strings in prop::collection::vec(".{0,8}", 0..6)) {
        let tensor = Tensor::vector(strings);
        let proto = TensorProto::decode(&tensor_to_proto("w", &tensor).encode_to_vec()[..]).unwrap();
        prop_assert_eq!(tensor_from_proto(&proto).unwrap(), tensor);
    }

    /// Any mixture of fields gives a tensor of the stated type and shape, or an error.
    #[test]
    fn random_messages_never_panic(
        data_type in -1i32..30,
        dims in prop::collection::vec(prop_oneof![4 => -1i64..4, 1 => any::<i64>()], 0..4),
        raw_data in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        int32_data in prop::collection::vec(any::<i32>(), 0..5),
        float_data in prop::collection::vec(any::<f32>(), 0..5),
    ) {
        let proto = TensorProto {
            data_type: Some(data_type), dims, raw_data: raw_data.map(Bytes::from), int32_data, float_data,
            ..TensorProto::default()
        };
        if let Ok(tensor) = tensor_from_proto(&proto) {
            prop_assert_eq!(tensor.dtype().to_onnx(), Some(data_type));
            prop_assert_eq!(tensor.len(), tensor.shape().iter().product::<usize>());
        }
    }
}
