//! The answers of a directory, and how long they are valid.

use std::collections::HashMap;

use super::question::Question;
use crate::words::denial::Denial;
use crate::words::time::Monotonic;

/// The maximum number of directory answers that a worker remembers.
const MAX_ANSWERS: usize = 4_096;

/// The most memory that their questions may take, including tokens, in bytes.
const MAX_ANSWER_BYTES: usize = 8_388_608;

/// How long a directory that failed is not asked again, in milliseconds. It is never longer
/// than answers are remembered.
const BACK_OFF: u64 = 1_000;

/// The answer of a directory, or its failure to give a usable one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DirectoryAnswer {
    /// The caller may read the resource (200).
    Allowed,
    /// The caller may not read it, or there is no such project (403).
    Forbidden,
    /// The project has no such resource (404).
    NotFound,
    /// The directory gave another status, or did not respond.
    Unavailable,
}

impl DirectoryAnswer {
    /// The answer that a response with this status gives. `None` stands for no response.
    #[must_use]
    pub const fn of_status(status: Option<u16>) -> Self {
        match status {
            Some(200) => Self::Allowed,
            Some(403) => Self::Forbidden,
            Some(404) => Self::NotFound,
            _ => Self::Unavailable,
        }
    }

    /// What the answer means for the request.
    ///
    /// # Errors
    /// [`Denial::ProjectNotGranted`], [`Denial::ResourceNotFound`] or
    /// [`Denial::DirectoryUnavailable`].
    pub const fn verdict(self) -> Result<(), Denial> {
        match self {
            Self::Allowed => Ok(()),
            Self::Forbidden => Err(Denial::ProjectNotGranted),
            Self::NotFound => Err(Denial::ResourceNotFound),
            Self::Unavailable => Err(Denial::DirectoryUnavailable),
        }
    }
}

/// The answers of a directory while they may be remembered: at most 4,096 of them, with 8 MiB
/// of questions.
#[derive(Debug, Default)]
pub struct Answers {
    entries: HashMap<Question, (DirectoryAnswer, Monotonic)>,
    bytes: usize,
}

impl Answers {
    /// The answer to a question, as long as it is remembered.
    #[must_use]
    pub fn get(&self, question: &Question, now: Monotonic) -> Option<DirectoryAnswer> {
        let (answer, until) = self.entries.get(question)?;
        // At the very instant when it expires, it still answers the requests that waited for
        // it.
        (now <= *until).then_some(*answer)
    }

    /// Remembers an answer for `cache_ttl` milliseconds, but a failure for a second at most.
    ///
    /// If there is no room, expired answers are forgotten first. Then refusals are, which
    /// anybody with a token can collect, and if that is not enough, all answers are. Asking a
    /// directory again does no harm.
    pub fn insert(
        &mut self,
        question: Question,
        answer: DirectoryAnswer,
        now: Monotonic,
        cache_ttl: u64,
    ) {
        let time = match answer {
            DirectoryAnswer::Unavailable => cache_ttl.min(BACK_OFF),
            _ => cache_ttl,
        };
        let size = question.size();
        if self.is_full(size) {
            self.keep(|_, until| now <= until);
        }
        if self.is_full(size) {
            self.keep(|answer, _| answer == DirectoryAnswer::Allowed);
        }
        if self.is_full(size) {
            self.keep(|_, _| false);
        }
        if self
            .entries
            .insert(question, (answer, now.after(time)))
            .is_none()
        {
            self.bytes = self.bytes.saturating_add(size);
        }
    }

    /// Whether there is no room for a question of that size.
    fn is_full(&self, size: usize) -> bool {
        self.entries.len() >= MAX_ANSWERS || self.bytes.saturating_add(size) > MAX_ANSWER_BYTES
    }

    fn keep(&mut self, which: impl Fn(DirectoryAnswer, Monotonic) -> bool) {
        self.entries
            .retain(|_, (answer, until)| which(*answer, *until));
        self.bytes = self.entries.keys().map(Question::size).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::Resource;
    use super::*;

    #[test]
    fn answers_are_remembered_for_their_time_and_failures_for_less() {
        let question = |id: &str| {
            let path = format!("/api/v1/projects/p/resources/{id}/logs");
            Question::new(b"token", Resource::of_path(path.as_bytes()).unwrap())
        };
        let at = Monotonic::from_millis;
        let mut answers = Answers::default();
        answers.insert(question("a"), DirectoryAnswer::Allowed, at(0), 30_000);
        answers.insert(question("b"), DirectoryAnswer::Unavailable, at(0), 30_000);
        answers.insert(question("c"), DirectoryAnswer::NotFound, at(0), 0);
        assert_eq!(
            answers.get(&question("a"), at(30_000)),
            Some(DirectoryAnswer::Allowed)
        );
        assert_eq!(answers.get(&question("a"), at(30_001)), None);
        assert_eq!(
            answers.get(&question("b"), at(1_000)),
            Some(DirectoryAnswer::Unavailable)
        );
        assert_eq!(answers.get(&question("b"), at(1_001)), None);
        assert_eq!(
            answers.get(&question("c"), at(0)),
            Some(DirectoryAnswer::NotFound)
        );
        assert_eq!(answers.get(&question("c"), at(1)), None);
        let path = b"/api/v1/projects/p/resources/a/logs";
        let other = Question::new(b"other", Resource::of_path(path).unwrap());
        assert_eq!(answers.get(&other, at(0)), None);
    }

    #[test]
    fn answers_do_not_pile_up() {
        let mut answers = Answers::default();
        for number in 0..20_000 {
            let path = format!("/api/v1/projects/p/resources/r{number}/logs");
            let resource = Resource::of_path(path.as_bytes()).unwrap();
            let question = Question::new(&[b'x'; 1_000], resource);
            answers.insert(
                question,
                DirectoryAnswer::Allowed,
                Monotonic::from_millis(0),
                1_000,
            );
            assert!(answers.entries.len() <= MAX_ANSWERS);
            assert!(answers.bytes <= MAX_ANSWER_BYTES);
        }
        let mut most = 0;
        for number in 0..4_000 {
            let path = format!("/api/v1/projects/p/resources/r{number}/logs");
            let resource = Resource::of_path(path.as_bytes()).unwrap();
            let question = Question::new(&vec![b'x'; 20_000], resource);
            answers.insert(
                question,
                DirectoryAnswer::Allowed,
                Monotonic::from_millis(0),
                1_000,
            );
            let held: usize = answers.entries.keys().map(Question::size).sum();
            assert_eq!(held, answers.bytes);
            most = most.max(held);
        }
        assert!(
            (MAX_ANSWER_BYTES - 30_000..=MAX_ANSWER_BYTES).contains(&most),
            "{most}"
        );
    }

    #[test]
    fn what_is_over_makes_room_before_anything_else() {
        let question = |id: &str| {
            let path = format!("/api/v1/projects/p/resources/{id}/logs");
            Question::new(b"token", Resource::of_path(path.as_bytes()).unwrap())
        };
        let at = Monotonic::from_millis;
        let mut answers = Answers::default();
        for number in 0..4_000 {
            answers.insert(
                question(&format!("old{number}")),
                DirectoryAnswer::Allowed,
                at(0),
                10,
            );
        }
        for number in 0..90 {
            answers.insert(
                question(&format!("new{number}")),
                DirectoryAnswer::Forbidden,
                at(5),
                1_000,
            );
        }
        for number in 0..90 {
            answers.insert(
                question(&format!("more{number}")),
                DirectoryAnswer::Allowed,
                at(20),
                1_000,
            );
        }
        let left = (0..90).filter(|number| {
            answers
                .get(&question(&format!("new{number}")), at(20))
                .is_some()
        });
        assert_eq!(left.count(), 90);
    }

    #[test]
    fn refusals_that_somebody_collects_push_out_no_permission() {
        let question = |id: &str| {
            let path = format!("/api/v1/projects/p/resources/{id}/logs");
            Question::new(b"token", Resource::of_path(path.as_bytes()).unwrap())
        };
        let now = Monotonic::from_millis(0);
        let mut answers = Answers::default();
        answers.insert(question("mine"), DirectoryAnswer::Allowed, now, 1_000);
        for number in 0..20_000 {
            answers.insert(
                question(&format!("r{number}")),
                DirectoryAnswer::Forbidden,
                now,
                1_000,
            );
        }
        assert_eq!(
            answers.get(&question("mine"), now),
            Some(DirectoryAnswer::Allowed)
        );
    }

    #[test]
    fn only_200_403_and_404_are_answers() {
        for status in [
            None,
            Some(0),
            Some(201),
            Some(204),
            Some(302),
            Some(401),
            Some(500),
        ] {
            assert_eq!(
                DirectoryAnswer::of_status(status),
                DirectoryAnswer::Unavailable,
                "{status:?}"
            );
        }
    }
}
