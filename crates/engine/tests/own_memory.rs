//! A session that owns its model does not hold weights twice, while it loads or afterwards.

mod networks;

use lissom_engine::{Session, SessionOptions};
use networks::{Net, noise_tensor};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[test]
fn weights_are_let_go_one_by_one() {
    const WIDTH: usize = 384;
    const LAYERS: usize = 12;
    let weight_bytes = 4 * WIDTH * WIDTH;
    let model = || {
        let (mut net, mut x) = Net::new(&[1, WIDTH], 17, 3);
        for _ in 0..LAYERS {
            let weight = net.weight(&[WIDTH, WIDTH], 0.1);
            x = net.plain("MatMul", &[x, weight]);
        }
        net.finish(vec![x])
    };
    let options = SessionOptions { threads: 1, ..SessionOptions::default() };
    let more_than_before = |session: Session, before: usize| {
        session.run(&[("x", &noise_tensor(&[4, WIDTH], 1))]).unwrap();
        (MEMORY.peak_usage().saturating_sub(before), MEMORY.current_usage().saturating_sub(before))
    };
    let own = model();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let (peak, held) = more_than_before(Session::from_model(own, &options).unwrap(), before);
    // The layer that is being packed, and what is not a weight.
    assert!(peak < 2 * weight_bytes && held < weight_bytes / 2, "{peak} at most, {held} held, {weight_bytes} a weight");
    let kept = model();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let (peak, _) = more_than_before(Session::new(&kept, &options).unwrap(), before);
    assert!(peak >= LAYERS * weight_bytes, "the packed weights beside the model's");
}
