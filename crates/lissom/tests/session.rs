//! The face of the engine: opening, settings, errors.

use lissom::{Choosing, DType, EngineError, Error, Session, SessionBuilder, Tensor, Threads, View, ViewMut};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/assets/fashion_resnet.onnx");

fn builder() -> SessionBuilder {
    Session::builder().choosing(Choosing::Estimated)
}

fn images(n: usize) -> Tensor {
    let values = (0..n * 784).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect::<Vec<_>>();
    Tensor::new([n, 1, 28, 28], values).unwrap()
}

#[test]
fn a_file_and_its_bytes_are_the_same_network_on_any_threads() {
    let images = images(3);
    let expected = builder().threads(1).open(MODEL).unwrap().run(&[("input", &images)]).unwrap();
    let session = builder().untrusted(true).pool(Threads::new(2)).from_bytes(std::fs::read(MODEL).unwrap()).unwrap();
    assert_eq!(session.run(&[("input", &images)]).unwrap(), expected);
    assert_eq!(session.share(Threads::new(3)).run(&[("input", &images)]).unwrap(), expected);
    let mut logits = [f32::NAN; 30];
    let view = View::of(&images).unwrap();
    session.run_into(&[("input", view)], &mut [("scores", ViewMut::new(&mut logits))]).unwrap();
    assert_eq!(logits, expected[0].as_slice::<f32>().unwrap());
    assert_eq!((session.inputs()[0].name.as_str(), session.inputs()[0].dtype), ("input", Some(DType::F32)));
    assert!(session.profile(&[("input", &images)]).unwrap().iter().any(|step| step.info.macs > 0));
    assert!(session.packed_bytes() > 0);
    assert_eq!(session.notes(), Vec::<String>::new());
}

#[test]
fn errors_say_what_to_do() {
    let missing = builder().open("no/such/model.onnx").unwrap_err();
    assert!(matches!(missing, Error::Read(_)));
    assert_eq!(missing.hint(), Some("check the path"));
    assert!(matches!(builder().from_bytes(*b"not a model"), Err(Error::Read(_))));
    let session = builder().open(MODEL).unwrap();
    let error = session.run(&[("image", &images(1))]).unwrap_err();
    assert!(matches!(error, Error::Engine(EngineError::UnknownInput { .. })), "{error}");
    assert!(error.hint().is_some());
    let error = session.run(&[("input", &Tensor::scalar(1.0f32))]).unwrap_err();
    assert!(matches!(error, Error::Engine(EngineError::InputMismatch { .. })), "{error}");
}
