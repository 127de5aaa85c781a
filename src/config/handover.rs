//! The words of `--handover`: how PID 1 tells a child of the same binary what it inherits.

use super::Handover;

/// Words that no [`Handover`] is spelt as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--handover is stopover's own: {0:?} is no word of it")]
pub struct HandoverError(String);

impl Handover {
    /// One argument: comma-separated words, none of them secret.
    #[must_use]
    pub fn to_words(&self) -> String {
        let mut words = Vec::new();
        for (name, fd) in [
            ("status", self.status),
            ("receipt", self.receipt),
            ("credentials", self.credentials),
            ("control", self.control),
        ] {
            words.extend(fd.map(|fd| format!("{name}={fd}")));
        }
        words.extend(self.directory.map(|(device, inode)| format!("directory={device}:{inode}")));
        words.extend(self.user.map(|(user, group)| format!("user={user}:{group}")));
        for (name, text) in [("pulled", &self.pulled), ("birth", &self.birth), ("tombstone", &self.tombstone)] {
            words.extend(text.as_ref().map(|text| format!("{name}={text}")));
        }
        for (name, is_said) in [
            ("plain", self.plain),
            ("part", self.part),
            ("ready", self.ready),
            ("app-alive", self.app_alive),
            ("look", self.look),
        ] {
            words.extend(is_said.then(|| name.to_owned()));
        }
        words.join(",")
    }

    /// Reads what [`Handover::to_words`] gives.
    ///
    /// # Errors
    /// The first word that is none of its own.
    pub fn from_words(words: &str) -> Result<Self, HandoverError> {
        let mut handover = Self::default();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            let wrong = || HandoverError(word.to_owned());
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let fd = || value.parse::<i32>().ok().filter(|fd| *fd > 2).ok_or_else(wrong).map(Some);
            match name {
                "status" => handover.status = fd()?,
                "receipt" => handover.receipt = fd()?,
                "credentials" => handover.credentials = fd()?,
                "control" => handover.control = fd()?,
                "directory" => {
                    let (device, inode) = value.split_once(':').ok_or_else(wrong)?;
                    handover.directory =
                        Some((device.parse().map_err(|_| wrong())?, inode.parse().map_err(|_| wrong())?));
                }
                "user" => {
                    let (user, group) = value.split_once(':').ok_or_else(wrong)?;
                    handover.user = Some((user.parse().map_err(|_| wrong())?, group.parse().map_err(|_| wrong())?));
                }
                "pulled" if !value.is_empty() => handover.pulled = Some(value.to_owned()),
                "birth" if !value.is_empty() => handover.birth = Some(value.to_owned()),
                "tombstone" if !value.is_empty() => handover.tombstone = Some(value.to_owned()),
                "plain" if value.is_empty() => handover.plain = true,
                "part" if value.is_empty() => handover.part = true,
                "ready" if value.is_empty() => handover.ready = true,
                "app-alive" if value.is_empty() => handover.app_alive = true,
                "look" if value.is_empty() => handover.look = true,
                _ => return Err(wrong()),
            }
        }
        Ok(handover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_handover_survives_its_words(
            fds in proptest::array::uniform4(proptest::option::of(3..1024_i32)),
            directory in proptest::option::of(any::<(u64, u64)>()),
            [pulled, birth] in proptest::array::uniform2(proptest::option::of("[0-9]{10}-[0-9a-f]{12}")),
            tombstone in proptest::option::of("[0-9a-f]{64}"),
            [plain, part, ready, app_alive, look]: [bool; 5],
            user in proptest::option::of(any::<(u32, u32)>()),
        ) {
            let [status, receipt, credentials, control] = fds;
            let handover = Handover {
                status, receipt, credentials, control, ready, pulled, plain, part, birth, tombstone, directory,
                app_alive, look, user,
            };
            prop_assert_eq!(Handover::from_words(&handover.to_words()), Ok(handover));
        }
    }

    #[test]
    fn standard_descriptors_and_foreign_words_are_refused() {
        for words in
            ["status=1", "status=x", "status", "ready=1", "directory=5", "pulled=", "birth=", "plain=1", "what"]
        {
            assert!(Handover::from_words(words).is_err(), "{words}");
        }
    }
}
