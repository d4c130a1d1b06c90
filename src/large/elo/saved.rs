//! A league as a text, so that it can be kept in a file and shipped.
//!
//! ```text
//! hakmem-elo 1
//! leader 2097152
//! 524288 23610 4 1 9          threshold, rating in sixteenths of a point, won, drawn, lost
//! ...
//! check 5f1c0a9e33d20b47      FNV-1a over everything before this line
//! ```
//!
//! Reading is strict: a league is taken whole or not at all.

use super::league::{BOUNDS, CANDIDATES, League};
use core::fmt::{self, Write};

/// The version that this build writes and reads.
const VERSION: u32 = 1;
const NAME: &str = "hakmem-elo";
/// Bytes that a text has at most.
pub(crate) const LONGEST: usize = 1024;

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It does not begin as such a text does.
    NotOurs,
    /// It was written by another version.
    Version(u32),
    /// It was cut or changed.
    Damaged,
    /// It is about other thresholds.
    OtherCandidates,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotOurs => write!(out, "is no file of ratings, expected `{NAME} {VERSION}`"),
            Refused::Version(found) => {
                write!(out, "has version {found}, expected {VERSION}")
            }
            Refused::Damaged => out.write_str("is damaged"),
            Refused::OtherCandidates => out.write_str("rates thresholds that this build has not"),
        }
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
fn check(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A text in a fixed buffer; what does not fit fails.
pub(crate) struct Text {
    bytes: [u8; LONGEST],
    used: usize,
}

impl Text {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or(&[])
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        self.bytes.get_mut(self.used..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// The text of a league. `None`: it does not fit, which the tests exclude.
pub(crate) fn write(league: &League) -> Option<Text> {
    let mut text = Text { bytes: [0; LONGEST], used: 0 };
    let lines = |text: &mut Text| {
        writeln!(text, "{NAME} {VERSION}")?;
        writeln!(text, "leader {}", super::league::threshold(league.leader))?;
        for (threshold, record) in CANDIDATES.iter().zip(&league.records) {
            let (rating, won, drawn, lost) = (record.rating, record.won, record.drawn, record.lost);
            writeln!(text, "{threshold} {rating} {won} {drawn} {lost}")?;
        }
        let sum = check(text.bytes());
        writeln!(text, "check {sum:016x}")
    };
    lines(&mut text).ok()?;
    Some(text)
}

/// The league that a text holds.
pub(crate) fn read(text: &[u8]) -> Result<League, Refused> {
    let text = core::str::from_utf8(text).map_err(|_| Refused::NotOurs)?;
    let version = text.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(' '));
    let version = version.and_then(|rest| rest.lines().next()).ok_or(Refused::NotOurs)?;
    match version.parse::<u32>() {
        Ok(VERSION) => {}
        Ok(other) => return Err(Refused::Version(other)),
        Err(_) => return Err(Refused::NotOurs),
    }
    let (body, sum) = text.rsplit_once("check ").ok_or(Refused::Damaged)?;
    let sum = sum.strip_suffix('\n').filter(|sum| sum.len() == 16).ok_or(Refused::Damaged)?;
    if u64::from_str_radix(sum, 16) != Ok(check(body.as_bytes())) {
        return Err(Refused::Damaged);
    }
    // What the sum vouches for was written by some build of this version.
    let mut league = League::new();
    let mut lines = body.lines().skip(1);
    let leader = lines.next().and_then(|line| line.strip_prefix("leader "));
    let leader = leader.and_then(|leader| leader.parse::<usize>().ok()).ok_or(Refused::Damaged)?;
    let found = CANDIDATES.iter().position(|&threshold| threshold == leader);
    league.leader = found.ok_or(Refused::OtherCandidates)?;
    for (threshold, record) in CANDIDATES.iter().zip(&mut league.records) {
        let mut words = lines.next().ok_or(Refused::OtherCandidates)?.split(' ');
        let mut next = || words.next().ok_or(Refused::Damaged);
        if next()?.parse() != Ok(*threshold) {
            return Err(Refused::OtherCandidates);
        }
        let rating = next()?.parse().map_err(|_| Refused::Damaged)?;
        if !(BOUNDS.0..=BOUNDS.1).contains(&rating) {
            return Err(Refused::Damaged);
        }
        record.rating = rating;
        for count in [&mut record.won, &mut record.drawn, &mut record.lost] {
            *count = next()?.parse().map_err(|_| Refused::Damaged)?;
        }
        if words.next().is_some() {
            return Err(Refused::Damaged);
        }
    }
    if lines.next().is_some() { Err(Refused::OtherCandidates) } else { Ok(league) }
}

#[cfg(test)]
mod tests {
    use super::super::league::Outcome;
    use super::*;
    use std::format;
    use std::string::String;

    fn played() -> League {
        let mut league = League::new();
        for round in 0..50usize {
            league.record(round % 6, (round + 1) % 6, [Outcome::Won, Outcome::Lost][round % 3 % 2]);
            league.crown();
        }
        league
    }

    fn text(league: &League) -> String {
        String::from_utf8(write(league).unwrap().bytes().to_vec()).unwrap()
    }

    /// With a sum that fits.
    fn summed(body: &str) -> String {
        format!("{body}check {:016x}\n", check(body.as_bytes()))
    }

    #[test]
    fn what_is_written_is_read() {
        for league in [League::new(), played()] {
            assert_eq!(read(text(&league).as_bytes()), Ok(league));
        }
        let mut longest = League::new();
        for record in &mut longest.records {
            record.rating = BOUNDS.1;
            (record.won, record.drawn, record.lost) = (u32::MAX, u32::MAX, u32::MAX);
        }
        assert_eq!(read(text(&longest).as_bytes()), Ok(longest));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let good = text(&played());
        for index in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[index] ^= 1;
            assert!(read(&bad).is_err(), "byte {index}");
            assert!(read(&good.as_bytes()[..index]).is_err(), "cut at {index}");
        }
        assert!(read(format!("{good}\n").as_bytes()).is_err());
        assert!(read(&[0xFF; 100]).is_err());
    }

    #[test]
    fn a_refusal_says_why() {
        let good = text(&played());
        let body = good.rsplit_once("check ").unwrap().0;
        assert_eq!(read(b""), Err(Refused::NotOurs));
        assert_eq!(read(b"#!/bin/sh\n"), Err(Refused::NotOurs));
        assert_eq!(read(good.replace("elo 1", "elo 7").as_bytes()), Err(Refused::Version(7)));
        assert_eq!(read(body.as_bytes()), Err(Refused::Damaged));
        let other = summed(&body.replace("\n524288 ", "\n524289 "));
        assert_eq!(read(other.as_bytes()), Err(Refused::OtherCandidates));
        let more = summed(&format!("{body}33554432 24000 0 0 0\n"));
        assert_eq!(read(more.as_bytes()), Err(Refused::OtherCandidates));
        let wild = summed(&body.replace("\n524288 ", "\n524288 9"));
        assert_eq!(read(wild.as_bytes()), Err(Refused::Damaged));
    }
}
