#[global_allocator]
static PEAK: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
use prost::Message;
fn main(){
  for f in std::env::args().skip(1) {
    let b = bytes::Bytes::from(std::fs::read(&f).unwrap());
    let n=b.len();
    let est=lissom_onnx::scan_for_measure(&b);
    let before=PEAK.current_usage(); PEAK.reset_peak_usage();
    let m=lissom_onnx::ModelProto::decode(b.clone());
    let peak=PEAK.peak_usage()-before; let held=PEAK.current_usage()-before;
    let ok = m.as_ref().map(|m| { let e=m.encode_to_vec(); (e==b, lissom_onnx::ModelProto::decode(&e[..]).unwrap().encode_to_vec()==e)});
    match est { Ok(e)=>println!("{n} est {e} {:.1}x peak {peak} {:.1}x held {held} {:?} {f}",e as f64/n as f64,peak as f64/n as f64, ok), Err(e)=>println!("ERR {e} {:?} {f}",ok) }
  }
}
