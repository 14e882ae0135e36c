//! Runs ONNX networks on the CPU, from a program.
//!
//! A [`Session`] is a loaded network. It compiles the graph for the shapes it meets: what follows a product is fused into
//! it, weights are packed once, sparse and int8 weights run in kernels of their own, all values live in one arena.
//!
//! ```
//! use lissom::{Choosing, Session, Tensor};
//!
//! # fn main() -> Result<(), lissom::Error> {
//! # let path = "../cli/assets/fashion_resnet.onnx";
//! let session = Session::builder().threads(2).choosing(Choosing::Estimated).open(path)?;
//! let image = Tensor::zeros(lissom::DType::F32, [1, 1, 28, 28])?;
//! let outputs = session.run(&[("input", &image)])?;
//! assert_eq!(outputs[0].shape(), [1, 10]);
//! assert_eq!(session.outputs(), ["scores"]);
//! # Ok(())
//! # }
//! ```
//!
//! [`Session::open`] is the same with the settings that suit a program: a thread for each core, kernels chosen by measuring.
//! [`Session::inputs`] says what the network wants; a length that is not declared may differ from run to run. Any number of
//! threads may call [`Session::run`] at once.
//!
//! # Without copies
//!
//! [`Session::run_into`] reads inputs from slices and writes outputs into slices. Once it has met a shape, it allocates
//! nothing as large as an input or output; f32 outputs are written by the last kernel itself, where the network allows it.
//!
//! ```
//! use lissom::{Session, View, ViewMut};
//!
//! # fn main() -> Result<(), lissom::Error> {
//! # let builder = Session::builder().choosing(lissom::Choosing::Estimated);
//! # let session = builder.open("../cli/assets/fashion_resnet.onnx")?;
//! let pixels = vec![0.5f32; 4 * 28 * 28];
//! let mut logits = [0f32; 4 * 10];
//! let images = View::new(&[4, 1, 28, 28], &pixels)?;
//! session.run_into(&[("input", images)], &mut [("scores", ViewMut::new(&mut logits))])?;
//! assert_ne!(logits[0], 0.0);
//! assert_eq!(logits[..10], logits[10..20]);
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! By default a session starts a thread for each core but one; they sleep while it is idle. [`SessionBuilder::threads`]
//! sets the number, the calling thread included. Small networks are faster on few threads, and a server that answers
//! many requests at once is fastest with many calls on one thread each.
//!
//! [`Session::share`] gives a second session on other threads that uses the same graph and packed weights:
//!
//! ```
//! # use lissom::{Session, Threads};
//! # fn main() -> Result<(), lissom::Error> {
//! # let builder = Session::builder().choosing(lissom::Choosing::Estimated);
//! # let session = builder.open("../cli/assets/fashion_resnet.onnx")?;
//! let workers: Vec<Session> = (0..4).map(|_| session.share(Threads::single())).collect();
//! # assert_eq!(workers[0].outputs(), session.outputs());
//! # Ok(())
//! # }
//! ```
//!
//! A program with a pool of its own lends it; then no thread is started. For rayon that is:
//!
//! ```
//! use std::sync::Arc;
//! use lissom::{Pool, Session, Threads};
//!
//! struct Rayon(rayon::ThreadPool);
//!
//! impl Pool for Rayon {
//!     fn count(&self) -> usize {
//!         self.0.current_num_threads()
//!     }
//!     fn broadcast(&self, work: &(dyn Fn() + Sync)) {
//!         self.0.broadcast(|_| work());
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
//! let session = Session::builder().pool(Threads::on(Arc::new(Rayon(pool))));
//! # let session = session.choosing(lissom::Choosing::Estimated);
//! # let session = session.open("../cli/assets/fashion_resnet.onnx")?;
//! # let image = lissom::Tensor::zeros(lissom::DType::F32, [1, 1, 28, 28])?;
//! # session.run(&[("input", &image)])?;
//! # Ok(())
//! # }
//! ```
//!
//! # How kernels are chosen
//!
//! A product can run dense or on its non-zeros, in several forms. [`Choosing::measured`], the default here, times those
//! that could be fastest on this machine the first time a shape is met, for at most a second a session, and remembers
//! the answers in a file (`LISSOM_CACHE` names its folder; empty: none). [`Choosing::Estimated`] asks a cost model and
//! times nothing. [`Session::profile`] says which kernel each step runs in, why, and how long it took;
//! [`Session::notes`] names nodes that have no kernel and run a plain, slower evaluation.
//!
//! # The same bytes
//!
//! A session gives the same bytes for the same input in every run, at any number of threads, on any pool, through
//! [`Session::run`] and [`Session::run_into`]. Another choice of kernels, and another instruction set, may round f32
//! differently. With [`Choosing::Estimated`] choices are the same on every machine of the same instruction set.
//!
//! # Files from strangers
//!
//! Reading is limited: no file makes it allocate more than a small multiple of its size, and external data is read from
//! the model's own folder only. [`SessionBuilder::untrusted`] also refuses what is merely suspicious.

mod builder;
mod error;
mod session;

pub use builder::SessionBuilder;
pub use error::Error;
pub use lissom_engine::{Choosing, EngineError, Input, StepInfo, StepTime};
pub use lissom_graph::LoadError;
pub use lissom_kernels::{Pool, Threads};
pub use lissom_onnx::ReadError;
pub use lissom_tensor::{DType, Element, Tensor, TensorError, Values, ValuesMut, View, ViewMut, Viewed};
pub use session::Session;
