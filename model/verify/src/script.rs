//! Which way the oracle goes where the rules leave several: one after the other, depth first.

/// The choices of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// What was chosen, of how many.
    choices: Vec<(usize, usize)>,
    /// Choices made in this attempt.
    made: usize,
}

impl Script {
    /// Begins with the first attempt.
    pub(crate) fn restart(&mut self) {
        self.choices.clear();
        self.made = 0;
    }

    /// One of `count`, which is at least one.
    pub(crate) fn choose(&mut self, count: usize) -> usize {
        if self.made == self.choices.len() {
            self.choices.push((0, count));
        }
        self.made += 1;
        self.choices[self.made - 1].0
    }

    /// Goes to the next attempt. `false` if there is none.
    pub(crate) fn advance(&mut self) -> bool {
        self.made = 0;
        while let Some((chosen, count)) = self.choices.pop() {
            if chosen + 1 < count {
                self.choices.push((chosen + 1, count));
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_gone_once() {
        let mut script = Script::default();
        script.restart();
        let mut seen = Vec::new();
        loop {
            let first = script.choose(2);
            let second = if first == 0 { script.choose(3) } else { 9 };
            seen.push((first, second));
            if !script.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 9)]);
    }

    #[test]
    fn without_a_choice_there_is_one_attempt() {
        let mut script = Script::default();
        script.restart();
        assert!(!script.advance());
    }
}
