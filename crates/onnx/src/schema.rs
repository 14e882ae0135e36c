//! What each message may hold, for walking a file before anything is decoded.
//!
//! The tables say the same as the prost attributes in `messages`; a test holds the two together.

use std::mem::size_of;

use bytes::Bytes;

use crate::messages::*;
use crate::wire::WireType;

/// A message of onnx.proto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum Kind {
    Model,
    OperatorSetId,
    StringStringEntry,
    Function,
    TrainingInfo,
    DeviceConfiguration,
    Graph,
    Node,
    Attribute,
    ValueInfo,
    TensorAnnotation,
    NodeDeviceConfiguration,
    ShardingSpec,
    IntIntListEntry,
    ShardedDim,
    SimpleShardedDim,
    Tensor,
    Segment,
    SparseTensor,
    Type,
    TensorType,
    ElementType,
    MapType,
    OpaqueType,
    Shape,
    Dimension,
}

/// One field of a message.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) content: Content,
    pub(crate) repeated: bool,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A varint that takes this many bytes in memory.
    Varint(usize),
    Fixed32,
    Fixed64,
    Text,
    Bytes,
    Message(Kind),
    /// A message behind a pointer.
    Boxed(Kind),
}

impl Content {
    pub(crate) fn wire_type(self) -> WireType {
        match self {
            Self::Varint(_) => WireType::Varint,
            Self::Fixed32 => WireType::Fixed32,
            Self::Fixed64 => WireType::Fixed64,
            Self::Text | Self::Bytes | Self::Message(_) | Self::Boxed(_) => WireType::Delimited,
        }
    }

    /// Bytes of one element of a vector of these.
    pub(crate) fn element_bytes(self) -> usize {
        match self {
            Self::Varint(bytes) => bytes,
            Self::Fixed32 => 4,
            Self::Fixed64 => 8,
            Self::Text => size_of::<String>(),
            Self::Bytes => size_of::<Bytes>(),
            Self::Message(kind) => kind.memory_bytes(),
            Self::Boxed(_) => size_of::<usize>(),
        }
    }
}

const fn one(number: u32, name: &'static str, content: Content) -> Field {
    Field { number, name, content, repeated: false }
}

const fn many(number: u32, name: &'static str, content: Content) -> Field {
    Field { number, name, content, repeated: true }
}

const INT64: Content = Content::Varint(8);
const INT32: Content = Content::Varint(4);

use Content::{Boxed, Bytes as Raw, Fixed32, Fixed64, Message, Text};

static MODEL: &[Field] = &[
    one(1, "ir_version", INT64),
    many(8, "opset_import", Message(Kind::OperatorSetId)),
    one(2, "producer_name", Text),
    one(3, "producer_version", Text),
    one(4, "domain", Text),
    one(5, "model_version", INT64),
    one(6, "doc_string", Text),
    one(7, "graph", Message(Kind::Graph)),
    many(14, "metadata_props", Message(Kind::StringStringEntry)),
    many(20, "training_info", Message(Kind::TrainingInfo)),
    many(25, "functions", Message(Kind::Function)),
    many(26, "configuration", Message(Kind::DeviceConfiguration)),
];
static OPERATOR_SET_ID: &[Field] = &[one(1, "domain", Text), one(2, "version", INT64)];
static STRING_STRING_ENTRY: &[Field] = &[one(1, "key", Text), one(2, "value", Text)];
static FUNCTION: &[Field] = &[
    one(1, "name", Text),
    many(4, "input", Text),
    many(5, "output", Text),
    many(6, "attribute", Text),
    many(11, "attribute_proto", Message(Kind::Attribute)),
    many(7, "node", Message(Kind::Node)),
    one(8, "doc_string", Text),
    many(9, "opset_import", Message(Kind::OperatorSetId)),
    one(10, "domain", Text),
    one(13, "overload", Text),
    many(12, "value_info", Message(Kind::ValueInfo)),
    many(14, "metadata_props", Message(Kind::StringStringEntry)),
];
static TRAINING_INFO: &[Field] = &[
    one(1, "initialization", Message(Kind::Graph)),
    one(2, "algorithm", Message(Kind::Graph)),
    many(3, "initialization_binding", Message(Kind::StringStringEntry)),
    many(4, "update_binding", Message(Kind::StringStringEntry)),
];
static DEVICE_CONFIGURATION: &[Field] = &[one(1, "name", Text), one(2, "num_devices", INT32), many(3, "device", Text)];
static GRAPH: &[Field] = &[
    many(1, "node", Message(Kind::Node)),
    one(2, "name", Text),
    many(5, "initializer", Message(Kind::Tensor)),
    many(15, "sparse_initializer", Message(Kind::SparseTensor)),
    one(10, "doc_string", Text),
    many(11, "input", Message(Kind::ValueInfo)),
    many(12, "output", Message(Kind::ValueInfo)),
    many(13, "value_info", Message(Kind::ValueInfo)),
    many(14, "quantization_annotation", Message(Kind::TensorAnnotation)),
    many(16, "metadata_props", Message(Kind::StringStringEntry)),
];
static NODE: &[Field] = &[
    many(1, "input", Text),
    many(2, "output", Text),
    one(3, "name", Text),
    one(4, "op_type", Text),
    one(7, "domain", Text),
    one(8, "overload", Text),
    many(5, "attribute", Message(Kind::Attribute)),
    one(6, "doc_string", Text),
    many(9, "metadata_props", Message(Kind::StringStringEntry)),
    many(10, "device_configurations", Message(Kind::NodeDeviceConfiguration)),
];
static ATTRIBUTE: &[Field] = &[
    one(1, "name", Text),
    one(21, "ref_attr_name", Text),
    one(13, "doc_string", Text),
    one(20, "type", INT32),
    one(2, "f", Fixed32),
    one(3, "i", INT64),
    one(4, "s", Raw),
    one(5, "t", Boxed(Kind::Tensor)),
    one(6, "g", Boxed(Kind::Graph)),
    one(22, "sparse_tensor", Boxed(Kind::SparseTensor)),
    one(14, "tp", Boxed(Kind::Type)),
    many(7, "floats", Fixed32),
    many(8, "ints", INT64),
    many(9, "strings", Raw),
    many(10, "tensors", Message(Kind::Tensor)),
    many(11, "graphs", Message(Kind::Graph)),
    many(23, "sparse_tensors", Message(Kind::SparseTensor)),
    many(15, "type_protos", Message(Kind::Type)),
];
static VALUE_INFO: &[Field] = &[
    one(1, "name", Text),
    one(2, "type", Message(Kind::Type)),
    one(3, "doc_string", Text),
    many(4, "metadata_props", Message(Kind::StringStringEntry)),
];
static TENSOR_ANNOTATION: &[Field] =
    &[one(1, "tensor_name", Text), many(2, "quant_parameter_tensor_names", Message(Kind::StringStringEntry))];
static NODE_DEVICE_CONFIGURATION: &[Field] = &[
    one(1, "configuration_id", Text),
    many(2, "sharding_spec", Message(Kind::ShardingSpec)),
    one(3, "pipeline_stage", INT32),
];
static SHARDING_SPEC: &[Field] = &[
    one(1, "tensor_name", Text),
    many(2, "device", INT64),
    many(3, "index_to_device_group_map", Message(Kind::IntIntListEntry)),
    many(4, "sharded_dim", Message(Kind::ShardedDim)),
];
static INT_INT_LIST_ENTRY: &[Field] = &[one(1, "key", INT64), many(2, "value", INT64)];
static SHARDED_DIM: &[Field] = &[one(1, "axis", INT64), many(2, "simple_sharding", Message(Kind::SimpleShardedDim))];
static SIMPLE_SHARDED_DIM: &[Field] =
    &[one(1, "dim_value", INT64), one(2, "dim_param", Text), one(3, "num_shards", INT64)];
static TENSOR: &[Field] = &[
    many(1, "dims", INT64),
    one(2, "data_type", INT32),
    one(3, "segment", Message(Kind::Segment)),
    many(4, "float_data", Fixed32),
    many(5, "int32_data", INT32),
    many(6, "string_data", Raw),
    many(7, "int64_data", INT64),
    one(8, "name", Text),
    one(12, "doc_string", Text),
    one(9, "raw_data", Raw),
    many(13, "external_data", Message(Kind::StringStringEntry)),
    one(14, "data_location", INT32),
    many(10, "double_data", Fixed64),
    many(11, "uint64_data", INT64),
    many(16, "metadata_props", Message(Kind::StringStringEntry)),
];
static SEGMENT: &[Field] = &[one(1, "begin", INT64), one(2, "end", INT64)];
static SPARSE_TENSOR: &[Field] =
    &[one(1, "values", Message(Kind::Tensor)), one(2, "indices", Message(Kind::Tensor)), many(3, "dims", INT64)];
static TYPE: &[Field] = &[
    one(1, "tensor_type", Message(Kind::TensorType)),
    one(4, "sequence_type", Message(Kind::ElementType)),
    one(5, "map_type", Message(Kind::MapType)),
    one(9, "optional_type", Message(Kind::ElementType)),
    one(8, "sparse_tensor_type", Message(Kind::TensorType)),
    one(7, "opaque_type", Message(Kind::OpaqueType)),
    one(6, "denotation", Text),
];
static TENSOR_TYPE: &[Field] = &[one(1, "elem_type", INT32), one(2, "shape", Message(Kind::Shape))];
static ELEMENT_TYPE: &[Field] = &[one(1, "elem_type", Boxed(Kind::Type))];
static MAP_TYPE: &[Field] = &[one(1, "key_type", INT32), one(2, "value_type", Boxed(Kind::Type))];
static OPAQUE_TYPE: &[Field] = &[one(1, "domain", Text), one(2, "name", Text)];
static SHAPE: &[Field] = &[many(1, "dim", Message(Kind::Dimension))];
static DIMENSION: &[Field] = &[one(1, "dim_value", INT64), one(2, "dim_param", Text), one(3, "denotation", Text)];

impl Kind {
    /// The fields of the message.
    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Self::Model => MODEL,
            Self::OperatorSetId => OPERATOR_SET_ID,
            Self::StringStringEntry => STRING_STRING_ENTRY,
            Self::Function => FUNCTION,
            Self::TrainingInfo => TRAINING_INFO,
            Self::DeviceConfiguration => DEVICE_CONFIGURATION,
            Self::Graph => GRAPH,
            Self::Node => NODE,
            Self::Attribute => ATTRIBUTE,
            Self::ValueInfo => VALUE_INFO,
            Self::TensorAnnotation => TENSOR_ANNOTATION,
            Self::NodeDeviceConfiguration => NODE_DEVICE_CONFIGURATION,
            Self::ShardingSpec => SHARDING_SPEC,
            Self::IntIntListEntry => INT_INT_LIST_ENTRY,
            Self::ShardedDim => SHARDED_DIM,
            Self::SimpleShardedDim => SIMPLE_SHARDED_DIM,
            Self::Tensor => TENSOR,
            Self::Segment => SEGMENT,
            Self::SparseTensor => SPARSE_TENSOR,
            Self::Type => TYPE,
            Self::TensorType => TENSOR_TYPE,
            Self::ElementType => ELEMENT_TYPE,
            Self::MapType => MAP_TYPE,
            Self::OpaqueType => OPAQUE_TYPE,
            Self::Shape => SHAPE,
            Self::Dimension => DIMENSION,
        }
    }

    /// Bytes the decoded message takes, what it points to not included.
    pub(crate) fn memory_bytes(self) -> usize {
        match self {
            Self::Model => size_of::<ModelProto>(),
            Self::OperatorSetId => size_of::<OperatorSetIdProto>(),
            Self::StringStringEntry => size_of::<StringStringEntryProto>(),
            Self::Function => size_of::<FunctionProto>(),
            Self::TrainingInfo => size_of::<TrainingInfoProto>(),
            Self::DeviceConfiguration => size_of::<DeviceConfigurationProto>(),
            Self::Graph => size_of::<GraphProto>(),
            Self::Node => size_of::<NodeProto>(),
            Self::Attribute => size_of::<AttributeProto>(),
            Self::ValueInfo => size_of::<ValueInfoProto>(),
            Self::TensorAnnotation => size_of::<TensorAnnotation>(),
            Self::NodeDeviceConfiguration => size_of::<NodeDeviceConfigurationProto>(),
            Self::ShardingSpec => size_of::<ShardingSpecProto>(),
            Self::IntIntListEntry => size_of::<IntIntListEntryProto>(),
            Self::ShardedDim => size_of::<ShardedDimProto>(),
            Self::SimpleShardedDim => size_of::<SimpleShardedDimProto>(),
            Self::Tensor => size_of::<TensorProto>(),
            Self::Segment => size_of::<tensor_proto::Segment>(),
            Self::SparseTensor => size_of::<SparseTensorProto>(),
            Self::Type => size_of::<TypeProto>(),
            Self::TensorType => size_of::<type_proto::Tensor>(),
            Self::ElementType => size_of::<type_proto::Sequence>(),
            Self::MapType => size_of::<type_proto::Map>(),
            Self::OpaqueType => size_of::<type_proto::Opaque>(),
            Self::Shape => size_of::<TensorShapeProto>(),
            Self::Dimension => size_of::<tensor_shape_proto::Dimension>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::scan::scan;

    /// Writes a random message by the tables, as a protobuf library would: by field number, alternatives first.
    struct Writer<'a> {
        choices: std::slice::Iter<'a, u8>,
    }

    impl Writer<'_> {
        fn choice(&mut self, n: u8) -> u8 {
            self.choices.next().map_or(0, |&choice| choice % n)
        }

        fn message(&mut self, kind: Kind, depth: usize) -> Vec<u8> {
            let mut fields: Vec<&Field> = kind.fields().iter().collect();
            fields.sort_by_key(|field| field.number);
            match kind {
                Kind::Type => {
                    let (denotation, values): (Vec<&Field>, _) = fields.iter().partition(|field| field.number == 6);
                    fields = vec![values[self.choice(6) as usize], denotation[0]];
                }
                Kind::Dimension | Kind::SimpleShardedDim => drop(fields.remove(self.choice(2) as usize)),
                _ => {}
            }
            let mut bytes = Vec::new();
            for field in fields {
                let n = self.choice(4);
                let n = if field.repeated { n } else { n.min(1) };
                // Of the numbers of ONNX only the elements of tensors are packed.
                let is_number = matches!(field.content, Varint(_) | Fixed32 | Fixed64);
                if n > 0 && is_number && kind == Kind::Tensor && field.repeated && field.name.ends_with("_data") {
                    let packed: Vec<u8> = (0..n).flat_map(|_| self.value(field, depth)).collect();
                    delimited(field.number, &packed, &mut bytes);
                    continue;
                }
                for _ in 0..n {
                    let value = self.value(field, depth);
                    match field.content {
                        Text | Raw | Message(_) | Boxed(_) => delimited(field.number, &value, &mut bytes),
                        Varint(_) => key(field.number, 0, &mut bytes),
                        Fixed32 => key(field.number, 5, &mut bytes),
                        Fixed64 => key(field.number, 1, &mut bytes),
                    }
                    if !matches!(field.content.wire_type(), WireType::Delimited) {
                        bytes.extend(value);
                    }
                }
            }
            bytes
        }

        fn value(&mut self, field: &Field, depth: usize) -> Vec<u8> {
            match field.content {
                Varint(_) => vec![self.choice(128)],
                Fixed32 => vec![self.choice(255), 0, 0, 0x40],
                Fixed64 => vec![self.choice(255), 0, 0, 0, 0, 0, 0, 0x40],
                Text => "é".repeat(self.choice(3) as usize).into_bytes(),
                Raw => vec![0xff; self.choice(3) as usize],
                Message(kind) | Boxed(kind) if depth > 0 => self.message(kind, depth - 1),
                Message(_) | Boxed(_) => Vec::new(),
            }
        }
    }

    use Content::Varint;

    fn key(number: u32, wire_type: u32, bytes: &mut Vec<u8>) {
        prost::encoding::encode_varint(u64::from(number << 3 | wire_type), bytes);
    }

    fn delimited(number: u32, value: &[u8], bytes: &mut Vec<u8>) {
        key(number, 2, bytes);
        prost::encoding::encode_varint(value.len() as u64, bytes);
        bytes.extend(value);
    }

    proptest! {
        /// The tables, the structs and the walk agree: all of a model by the tables is known, kept and written again.
        #[test]
        fn random_models_come_back_byte_for_byte(choices in prop::collection::vec(any::<u8>(), 0..4000)) {
            let bytes = Writer { choices: choices.iter() }.message(Kind::Model, 12);
            let scan = scan(&mut Bytes::from(bytes.clone()).into(), Kind::Model, 64).unwrap();
            prop_assert!(scan.unknown_fields.is_empty());
            let model = ModelProto::decode(&bytes[..]).unwrap();
            prop_assert_eq!(model.encode_to_vec(), bytes);
        }
    }

    #[test]
    fn no_table_names_a_field_twice_and_all_fit_the_counters() {
        let mut kinds = vec![Kind::Model];
        let mut next = 0;
        while let Some(&kind) = kinds.get(next) {
            let fields = kind.fields();
            assert!(fields.len() <= crate::scan::MAX_FIELDS, "{kind:?}");
            for (position, field) in fields.iter().enumerate() {
                let is_again = |other: &Field| other.number == field.number || other.name == field.name;
                assert!(!fields[..position].iter().any(is_again), "{kind:?}.{}", field.name);
                if let Message(inner) | Boxed(inner) = field.content
                    && !kinds.contains(&inner)
                {
                    kinds.push(inner);
                }
            }
            next += 1;
        }
        assert_eq!(kinds.len(), 26, "every message is reached from the model");
    }
}
