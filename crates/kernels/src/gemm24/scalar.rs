//! The loops of this family for any CPU.

use super::lanes::Tile;
use super::{CHUNK, GROUP};

/// Outputs of a panel.
const PANEL: usize = 4;

/// # Safety
/// The pointers are as `tile` says for `rows` rows.
pub(super) unsafe fn tile(rows: usize, tile: &Tile) {
    // SAFETY: the caller's.
    unsafe {
        for (row, &x) in tile.rows[..rows].iter().enumerate() {
            let mut sums = [0.0f32; PANEL];
            let mut data = tile.data;
            for _ in 0..tile.passes {
                for chunk in (0..tile.groups).step_by(CHUNK) {
                    let mut choices = data.cast::<[u32; PANEL]>().read();
                    data = data.add(PANEL);
                    for weight in 2 * chunk..2 * tile.groups.min(chunk + CHUNK) {
                        let x = x.add(weight / 2 * GROUP);
                        for (lane, choice) in choices.iter_mut().enumerate() {
                            sums[lane] += f32::from_bits(*data.add(lane)) * *x.add((*choice & 3) as usize);
                            *choice >>= 2;
                        }
                        data = data.add(PANEL);
                    }
                }
            }
            for (col, &sum) in sums.iter().enumerate().take(tile.n_cols) {
                let (at, mut y) = (row * tile.stride + col, sum);
                if !tile.bias.is_null() {
                    y += *tile.bias.add(col);
                }
                if !tile.residual.is_null() {
                    y += *tile.residual.add(at);
                }
                // Comparisons, so that NaN stays.
                let y = if y < tile.clamp.0 { tile.clamp.0 } else { y };
                *tile.out.add(at) = if y > tile.clamp.1 { tile.clamp.1 } else { y };
            }
        }
    }
}
