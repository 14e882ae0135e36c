//! A run on borrowed memory allocates nothing as large as its inputs or outputs.

mod networks;

use lissom_tensor::{View, ViewMut};
use networks::{Net, noise, session};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[test]
fn runs_allocate_little_once_the_shape_is_known() {
    let shape = [1, 3, 96, 96];
    let (mut net, x) = Net::new(&shape, 17, 3);
    let a = net.conv(x, [16, 3, 3], 1, 1);
    let a = net.plain("Relu", &[a]);
    let b = net.conv(a, [16, 16, 3], 1, 1);
    let sum = net.plain("Add", &[a, b]);
    let out = net.conv(sum, [8, 16, 1], 1, 1);
    let out = net.plain("Sigmoid", &[out]);
    let model = net.finish(vec![out]);
    for threads in [1, 2] {
        let session = session(&model, true, threads);
        let name = session.output_names()[0].clone();
        let values = noise(shape.iter().product(), 7);
        let mut out = vec![0f32; 8 * 96 * 96];
        let mut run = || {
            let input = View::new(&shape, &values).unwrap();
            session.run_into(&[("x", input)], &mut [(&name, ViewMut::new(&mut out))]).unwrap();
        };
        // The scratch of every thread grows when the thread first gets a task of a kind.
        (0..50).for_each(|_| run());
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        (0..20).for_each(|_| run());
        let most = MEMORY.peak_usage() - before;
        assert!(most < 16 << 10, "{most} bytes on {threads} threads; the input has {}", values.len() * 4);
    }
}
