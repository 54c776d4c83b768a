//! What the user wants to see, and what can be shown where it goes.

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// Where a person reads them.
    #[default]
    Auto,
    /// Also where no terminal is.
    Always,
    /// Nowhere.
    Never,
}

/// What the environment says of the terminal; [`Look::of`] makes the decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Whether standard output is a terminal.
    pub stdout: bool,
    /// Whether standard error is one.
    pub stderr: bool,
    /// Whether the terminal can do more than write one line after the other.
    pub capable: bool,
    /// Whether its characters are more than ASCII.
    pub unicode: bool,
    /// Whether an automaton runs the tool, and keeps what it says as a log.
    pub automated: bool,
    /// Whether colours are asked for where there is no terminal (`CLICOLOR_FORCE`).
    pub color_forced: bool,
    /// Whether there are to be none (`NO_COLOR`, or `CLICOLOR=0`).
    pub color_refused: bool,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loudness {
    /// Warnings and results alone.
    Quiet,
    /// What a person wants to know.
    #[default]
    Normal,
    /// That, and all that the tests print.
    Verbose,
}

/// The decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// How much is said.
    pub loudness: Loudness,
    /// Whether the output of tasks may do to a terminal what it likes.
    pub raw: bool,
    /// Whether a region below the lines is drawn again and again.
    pub is_live: bool,
    /// Whether signs beyond ASCII are shown.
    pub unicode: bool,
    /// Whether standard output has colours.
    pub colored_stdout: bool,
    /// Whether standard error has colours.
    pub colored_stderr: bool,
}

impl Look {
    /// What is shown in these surroundings to a user who wants this.
    pub fn of(around: Surroundings, color: ColorChoice, loudness: Loudness, raw: bool) -> Self {
        let colored = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !around.color_refused && (around.color_forced || (terminal && around.capable)),
        };
        // Output that may move the cursor has the terminal for itself.
        let has_terminal = around.stderr && around.capable && !around.automated;
        let is_live = has_terminal && loudness != Loudness::Quiet && !(raw && loudness == Loudness::Verbose);
        Self {
            loudness,
            raw,
            is_live,
            unicode: around.unicode,
            colored_stdout: colored(around.stdout),
            colored_stderr: colored(around.stderr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Surroundings = Surroundings {
        stdout: true,
        stderr: true,
        capable: true,
        unicode: true,
        automated: false,
        color_forced: false,
        color_refused: false,
    };

    fn look(around: Surroundings) -> Look {
        Look::of(around, ColorChoice::Auto, Loudness::Normal, false)
    }

    #[test]
    fn a_region_needs_a_terminal_with_a_person_who_wants_to_see_it() {
        assert!(look(TERMINAL).is_live);
        let others = [
            Surroundings { stderr: false, ..TERMINAL },
            Surroundings { capable: false, ..TERMINAL },
            Surroundings { automated: true, ..TERMINAL },
        ];
        for around in others {
            assert!(!look(around).is_live, "{around:?}");
        }
        let live = |loudness, raw| Look::of(TERMINAL, ColorChoice::Auto, loudness, raw).is_live;
        assert!(live(Loudness::Verbose, false) && live(Loudness::Normal, true));
        assert!(!live(Loudness::Quiet, false) && !live(Loudness::Verbose, true));
    }

    #[test]
    fn what_is_typed_decides_on_colours_before_what_the_environment_says() {
        let colors = |around, choice| {
            let look = Look::of(around, choice, Loudness::Normal, false);
            (look.colored_stdout, look.colored_stderr)
        };
        let forced = Surroundings { color_forced: true, stdout: false, stderr: false, ..TERMINAL };
        let refused = Surroundings { color_refused: true, ..TERMINAL };
        let piped = Surroundings { stdout: false, ..TERMINAL };
        let dumb = Surroundings { capable: false, ..TERMINAL };
        assert_eq!(colors(TERMINAL, ColorChoice::Auto), (true, true));
        assert_eq!(colors(piped, ColorChoice::Auto), (false, true));
        assert_eq!(colors(dumb, ColorChoice::Auto), (false, false));
        assert_eq!(colors(forced, ColorChoice::Auto), (true, true));
        assert_eq!(colors(refused, ColorChoice::Auto), (false, false));
        assert_eq!(colors(Surroundings { color_refused: true, ..forced }, ColorChoice::Auto), (false, false));
        assert_eq!(colors(refused, ColorChoice::Always), (true, true));
        assert_eq!(colors(forced, ColorChoice::Never), (false, false));
        // An automaton's log may well show colours, and is no terminal; one that is a terminal has them.
        assert_eq!(colors(Surroundings { automated: true, ..TERMINAL }, ColorChoice::Auto), (true, true));
    }
}
