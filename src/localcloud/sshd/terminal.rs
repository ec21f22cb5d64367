//! Pseudo-terminals with the settings that a client requests, and non-blocking
//! input and output.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios,
    tcgetattr, tcsetattr,
};
use russh::Pty;
use tokio::io::unix::AsyncFd;

use super::super::accounts::{self, Account};

/// The terminal that a client requests.
pub(super) struct Request {
    pub(super) term: String,
    pub(super) size: Winsize,
    pub(super) modes: Vec<(Pty, u32)>,
}

/// The server's end of a terminal.
pub(super) struct Terminal {
    master: AsyncFd<File>,
}

/// The program's end of a terminal.
pub(super) struct Line {
    pub(super) tty: OwnedFd,
    pub(super) path: PathBuf,
}

/// Converts the size of a window from the protocol's numbers.
pub(super) fn size(columns: u32, rows: u32, width: u32, height: u32) -> Winsize {
    let short = |number| u16::try_from(number).unwrap_or(u16::MAX);
    Winsize {
        ws_row: short(rows),
        ws_col: short(columns),
        ws_xpixel: short(width),
        ws_ypixel: short(height),
    }
}

/// Opens a terminal whose owner is the user.
pub(super) fn open(request: &Request, account: &Account) -> io::Result<(Terminal, Line)> {
    let OpenptyResult { master, slave } = openpty(Some(&request.size), None)?;
    let mut termios = tcgetattr(&slave)?;
    for &(mode, value) in &request.modes {
        apply(&mut termios, mode, value);
    }
    tcsetattr(&slave, SetArg::TCSANOW, &termios)?;
    let path = nix::unistd::ttyname(&slave)?;
    set_owner(&slave, account)?;
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    for fd in [&master, &slave] {
        fcntl(fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    let master = register(File::from(master))?;
    Ok((Terminal { master }, Line { tty: slave, path }))
}

#[expect(unsafe_code, reason = "there is no safe function to register a file")]
fn register(master: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: the file owns its descriptor, which is neither replaced nor closed.
    Ok(unsafe { AsyncFd::register(master)? })
}

fn set_owner(slave: &OwnedFd, account: &Account) -> io::Result<()> {
    let tty = accounts::group("tty");
    fchown(slave, Some(account.uid), Some(tty.unwrap_or(account.gid)))?;
    let mode = if tty.is_some() { 0o620 } else { 0o600 };
    File::from(slave.try_clone()?).set_permissions(Permissions::from_mode(mode))
}

impl Terminal {
    /// Reads the programs' output. Returns 0 after all programs have closed the
    /// terminal.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.readable().await?;
            match ready.try_io(|master| master.get_ref().read(buffer)) {
                // Linux returns EIO if no process has the other end open.
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(result) => return result,
                Err(_not_ready) => {}
            }
        }
    }

    /// Writes data as input of the programs.
    pub(super) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.master.writable().await?;
            match ready.try_io(|master| master.get_ref().write(data)) {
                Ok(written) => data = &data[written?..],
                Err(_not_ready) => {}
            }
        }
        Ok(())
    }

    /// Sets the size of the window. The kernel notifies the programs.
    #[expect(unsafe_code, reason = "there is no safe function to set the size")]
    pub(super) fn resize(&self, size: Winsize) -> io::Result<()> {
        let master = self.master.get_ref().as_raw_fd();
        // SAFETY: the descriptor is open, and the kernel only reads `size`.
        let result = unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) };
        nix::errno::Errno::result(result)?;
        Ok(())
    }
}

/// Sets a terminal mode. Modes that Linux does not have are ignored.
fn apply(termios: &mut Termios, mode: Pty, value: u32) {
    if let Some(index) = character(mode) {
        // 255 disables the character.
        let byte = u8::try_from(value).unwrap_or(u8::MAX);
        termios.control_chars[index as usize] = if byte == u8::MAX { 0 } else { byte };
        return;
    }
    let on = value != 0;
    if let Some(flag) = input_flag(mode) {
        termios.input_flags.set(flag, on);
    } else if let Some(flag) = local_flag(mode) {
        termios.local_flags.set(flag, on);
    } else if let Some(flag) = output_flag(mode) {
        termios.output_flags.set(flag, on);
    } else if let Some(flag) = control_flag(mode) {
        termios.control_flags.set(flag, on);
    }
}

fn character(mode: Pty) -> Option<SpecialCharacterIndices> {
    use SpecialCharacterIndices as Index;
    Some(match mode {
        Pty::VINTR => Index::VINTR,
        Pty::VQUIT => Index::VQUIT,
        Pty::VERASE => Index::VERASE,
        Pty::VKILL => Index::VKILL,
        Pty::VEOF => Index::VEOF,
        Pty::VEOL => Index::VEOL,
        Pty::VEOL2 => Index::VEOL2,
        Pty::VSTART => Index::VSTART,
        Pty::VSTOP => Index::VSTOP,
        Pty::VSUSP => Index::VSUSP,
        Pty::VREPRINT => Index::VREPRINT,
        Pty::VWERASE => Index::VWERASE,
        Pty::VLNEXT => Index::VLNEXT,
        Pty::VDISCARD => Index::VDISCARD,
        _ => return None,
    })
}

fn input_flag(mode: Pty) -> Option<InputFlags> {
    Some(match mode {
        Pty::IGNPAR => InputFlags::IGNPAR,
        Pty::PARMRK => InputFlags::PARMRK,
        Pty::INPCK => InputFlags::INPCK,
        Pty::ISTRIP => InputFlags::ISTRIP,
        Pty::INLCR => InputFlags::INLCR,
        Pty::IGNCR => InputFlags::IGNCR,
        Pty::ICRNL => InputFlags::ICRNL,
        Pty::IXON => InputFlags::IXON,
        Pty::IXANY => InputFlags::IXANY,
        Pty::IXOFF => InputFlags::IXOFF,
        Pty::IMAXBEL => InputFlags::IMAXBEL,
        Pty::IUTF8 => InputFlags::IUTF8,
        _ => return None,
    })
}

fn local_flag(mode: Pty) -> Option<LocalFlags> {
    Some(match mode {
        Pty::ISIG => LocalFlags::ISIG,
        Pty::ICANON => LocalFlags::ICANON,
        Pty::ECHO => LocalFlags::ECHO,
        Pty::ECHOE => LocalFlags::ECHOE,
        Pty::ECHOK => LocalFlags::ECHOK,
        Pty::ECHONL => LocalFlags::ECHONL,
        Pty::NOFLSH => LocalFlags::NOFLSH,
        Pty::TOSTOP => LocalFlags::TOSTOP,
        Pty::IEXTEN => LocalFlags::IEXTEN,
        Pty::ECHOCTL => LocalFlags::ECHOCTL,
        Pty::ECHOKE => LocalFlags::ECHOKE,
        Pty::PENDIN => LocalFlags::PENDIN,
        _ => return None,
    })
}

fn output_flag(mode: Pty) -> Option<OutputFlags> {
    Some(match mode {
        Pty::OPOST => OutputFlags::OPOST,
        Pty::OLCUC => OutputFlags::OLCUC,
        Pty::ONLCR => OutputFlags::ONLCR,
        Pty::OCRNL => OutputFlags::OCRNL,
        Pty::ONOCR => OutputFlags::ONOCR,
        Pty::ONLRET => OutputFlags::ONLRET,
        _ => return None,
    })
}

fn control_flag(mode: Pty) -> Option<ControlFlags> {
    Some(match mode {
        Pty::CS7 => ControlFlags::CS7,
        Pty::CS8 => ControlFlags::CS8,
        Pty::PARENB => ControlFlags::PARENB,
        Pty::PARODD => ControlFlags::PARODD,
        _ => return None,
    })
}
