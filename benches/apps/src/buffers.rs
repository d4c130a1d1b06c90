//! Byte buffers: grown by appending, copied, cut and queued, as readers, encoders and sockets use
//! them; from kilobytes to 64 MiB.

use crate::digest::{Numbers, digest};
use std::collections::VecDeque;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Runs the program and returns what it prints.
pub fn run() -> String {
    let mut numbers = Numbers::new(8);
    let mut lines = Vec::new();
    // Files of unknown length read in pieces.
    for goal in [MIB, 5 * MIB, 17 * MIB, 64 * MIB, 3 * MIB, 40 * MIB] {
        let mut file = Vec::new();
        while file.len() < goal {
            let piece = vec![file.len() as u8; 4 * KIB + numbers.length(60 * KIB)];
            file.extend_from_slice(&piece);
        }
        let copy = file.clone();
        file.truncate(goal / 3);
        file.shrink_to_fit();
        lines.push(format!("file {} {}", file.len(), copy[copy.len() - 1]));
    }
    // A queue of packets in flight; each is cut, encoded and sent on.
    let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut sent, mut sum) = (0_u64, 0_u64);
    for step in 0..60_000_u64 {
        let mut packet = vec![step as u8; 256 + numbers.length(32 * KIB)];
        packet.extend_from_slice(&step.to_le_bytes());
        queue.push_back(packet);
        if queue.len() > 64 {
            let mut packet = queue.swap_remove_back(numbers.length(8)).expect("full enough");
            let tail = packet.split_off(packet.len() / 2);
            sent += (packet.len() + tail.len()) as u64;
            sum = sum.wrapping_add(u64::from(tail[tail.len() - 8]));
        }
    }
    lines.push(format!("queue {sent} {sum}"));
    // Frames of a picture: large, zeroed, and soon dropped.
    let mut frames = 0_u64;
    for frame in 0..60_usize {
        let mut pixels = vec![0_u8; 8 * MIB];
        pixels.iter_mut().step_by(4 * KIB).for_each(|pixel| *pixel = frame as u8);
        let thumbnail: Vec<u8> = pixels.iter().step_by(64).copied().collect();
        frames = frames.wrapping_mul(31).wrapping_add(digest(&thumbnail[..KIB]));
    }
    lines.push(format!("frames {frames:016x}"));
    lines.join("\n")
}
