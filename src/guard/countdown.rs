//! Which refill is sampled: a countdown per heap, of random length.

use super::ON;
use crate::base::sync::{AtomicU32, Ordering};
use crate::os;

/// Refills between two samples on average; 0: none.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static PERIOD: AtomicU32 = AtomicU32::new(1024);

const COUNTERS: usize = if ON { 1 } else { 0 };

/// A heap's countdown.
pub(crate) struct Countdown {
    left: [u32; COUNTERS],
    /// State of the generator; zero until the first refill.
    random: [u64; COUNTERS],
}

impl Countdown {
    pub(crate) const fn new() -> Self {
        Countdown { left: [0; COUNTERS], random: [0; COUNTERS] }
    }

    /// Counts a refill. True: it is to be sampled.
    #[inline(always)]
    pub(crate) fn due(&mut self) -> bool {
        match self.left.first_mut() {
            None => false,
            Some(left) if *left > 1 => {
                *left -= 1;
                false
            }
            Some(_) => self.over(),
        }
    }

    /// The countdown is over (or has not begun): begins another.
    #[cold]
    fn over(&mut self) -> bool {
        let period = PERIOD.load(Ordering::Relaxed);
        let (Some(left), Some(state)) = (self.left.first_mut(), self.random.first_mut()) else {
            return false;
        };
        let begun = *left == 1;
        if period == 0 {
            *left = 1 << 10;
            return false;
        }
        if *state == 0 {
            *state = os::random() | 1;
        }
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        // 1 to 2 * period - 1, which is `period` on average.
        *left = 1 + (*state % u64::from(2 * period - 1)) as u32;
        begun || period == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_once_a_period_on_average() {
        let mut countdown = Countdown::new();
        let period = PERIOD.load(Ordering::Relaxed) as usize;
        // The standard deviation of a period is below 0.6 periods, so that of the count in 1000 is below
        // 19. Twenty times that is never.
        let (periods, likely) = if cfg!(miri) { (4, 1..=40) } else { (1000, 620..=1380) };
        let due = (0..periods * period).filter(|_| countdown.due()).count();
        if ON {
            assert!(likely.contains(&due), "{due}");
        } else {
            assert_eq!(due, 0);
        }
    }
}
