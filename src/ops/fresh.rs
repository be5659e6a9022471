//! Memory for results that are written part by part, in parallel.
//!
//! `vec![0.0; n]` fills all of a large result with zeros on one core, which by then has left the caches again: on two cores a
//! sixth of a training step. Here each task clears its own part when it begins with it.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::number::Number;

/// Numbers to come.
pub(crate) struct Fresh<E> {
    /// Empty, with room for `length`.
    data: Vec<E>,
    length: usize,
    /// How many of them are cleared, through the parts that were handed out last.
    cleared: AtomicUsize,
}

/// Some of them, one after another, that nobody else has.
pub(crate) struct Part<'a, E> {
    room: &'a mut [MaybeUninit<E>],
    cleared: &'a AtomicUsize,
}

impl<E: Number> Fresh<E> {
    pub fn new(length: usize) -> Self {
        Self { data: Vec::with_capacity(length), length, cleared: AtomicUsize::new(0) }
    }

    /// In parts of `size`; the last may be shorter.
    pub fn chunks(&mut self, size: usize) -> impl IndexedParallelIterator<Item = Part<'_, E>> {
        let (room, cleared) = self.room();
        room.par_chunks_mut(size).map(move |room| Part { room, cleared })
    }

    /// In parts of these lengths.
    pub fn parts(&mut self, lengths: impl Iterator<Item = usize>) -> Vec<Part<'_, E>> {
        let (mut room, cleared) = self.room();
        let part = |length| {
            let (part, rest) = std::mem::take(&mut room).split_at_mut(length);
            room = rest;
            Part { room: part, cleared }
        };
        lengths.map(part).collect()
    }

    /// All of it, of which no part is cleared.
    fn room(&mut self) -> (&mut [MaybeUninit<E>], &AtomicUsize) {
        *self.cleared.get_mut() = 0;
        (&mut self.data.spare_capacity_mut()[..self.length], &self.cleared)
    }

    /// # Panics
    /// Where a part was not begun with.
    pub fn done(mut self) -> Vec<E> {
        assert_eq!(*self.cleared.get_mut(), self.length, "every part of a result is written");
        // SAFETY: `cleared` counts the numbers of the parts that were cleared since they were handed out last, which do not
        // overlap: all `length` are initialised, and there is room for them.
        unsafe { self.data.set_len(self.length) };
        self.data
    }
}

impl<'a, E: Number> Part<'a, E> {
    /// The part, full of zeros.
    pub fn zeros(self) -> &'a mut [E] {
        self.room.fill(MaybeUninit::new(E::default()));
        self.cleared.fetch_add(self.room.len(), Ordering::Relaxed);
        // SAFETY: all of it was just filled, and `MaybeUninit<E>` lies in memory as `E` does.
        unsafe { std::slice::from_raw_parts_mut(self.room.as_mut_ptr().cast::<E>(), self.room.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zero_then_what_was_written() {
        let mut fresh = Fresh::<f32>::new(1000);
        fresh.chunks(33).enumerate().for_each(|(index, part)| {
            let part = part.zeros();
            assert!(part.iter().all(|x| *x == 0.0));
            part[0] = index as f32;
        });
        let data = fresh.done();
        assert_eq!(data.len(), 1000);
        assert_eq!((data[33], data[34], data[990]), (1.0, 0.0, 30.0));
        assert!(Fresh::<f32>::new(0).done().is_empty());
    }

    #[test]
    #[should_panic(expected = "every part")]
    fn a_part_that_was_not_begun_with_is_no_result() {
        let mut fresh = Fresh::<f32>::new(10);
        // The first part twice: as many numbers as there are, but not all of them.
        for _ in 0..2 {
            let mut parts = fresh.parts([5, 5].into_iter());
            parts.swap_remove(0).zeros();
        }
        fresh.done();
    }
}
