//! Lines at the bottom of a terminal that are drawn anew in place, and logs above them.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use console::{Term, truncate_str};

/// The terminal behind stderr, and how many lines of it are drawn now. Cheap to clone.
#[derive(Clone)]
pub struct Screen(Arc<Mutex<Drawn>>);

struct Drawn {
    terminal: Term,
    lines: usize,
}

impl Screen {
    /// With nothing drawn.
    pub fn new() -> Screen {
        Screen(Arc::new(Mutex::new(Drawn { terminal: Term::buffered_stderr(), lines: 0 })))
    }

    /// Whether stderr is a terminal on which lines can be drawn anew.
    pub fn is_terminal(&self) -> bool {
        self.lock().terminal.features().is_attended() && !console::is_dumb()
    }

    /// How many lines there is room for.
    pub fn room(&self) -> usize {
        self.lock().room()
    }

    /// How wide a line may be.
    pub fn width(&self) -> usize {
        usize::from(self.lock().terminal.size().1)
    }

    /// Draws these lines in place of the last ones, as many and as much of each as there is room for. The cursor stays in
    /// the line below, so that the terminal's own `^C` moves nothing.
    pub fn draw(&self, lines: &[String]) {
        let mut drawn = self.lock();
        // a terminal that goes away is no reason to end
        let _ = drawn.draw(lines);
    }

    /// Writes above the drawn lines, which come back when they are drawn next.
    pub fn above(&self, text: &[u8]) -> io::Result<()> {
        let mut drawn = self.lock();
        drawn.draw(&[])?;
        io::stderr().write_all(text)
    }

    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawn {
    fn room(&self) -> usize {
        usize::from(self.terminal.size().0).saturating_sub(1)
    }

    fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        if self.lines == 0 && lines.is_empty() {
            return Ok(());
        }
        let (room, width) = (self.room(), self.terminal.size().1);
        self.terminal.write_str("\r")?;
        self.terminal.move_cursor_up(self.lines)?;
        for line in lines.iter().take(room) {
            self.terminal.clear_line()?;
            self.terminal.write_line(&truncate_str(line, usize::from(width), "…"))?;
        }
        self.terminal.clear_to_end_of_screen()?;
        self.lines = lines.len().min(room);
        self.terminal.flush()
    }
}
