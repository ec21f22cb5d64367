//! CONNECT tunnels between an instance and a target.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::body::{self, Body};
use super::failure::Failure;
use super::origin::{Origins, Stream};
use super::target::Target;

/// How long a tunnel may be idle.
const IDLE: Duration = Duration::from_secs(300);
const CHUNK: usize = 16 * 1024;

/// Connects to the target and opens a tunnel, which ends at the latest when `end`
/// is ready.
pub(super) async fn open(
    origins: &Origins,
    request: Request<Incoming>,
    end: impl Future<Output = ()> + Send + 'static,
) -> Result<Response<Body>, Failure> {
    let authority = request
        .uri()
        .authority()
        .ok_or_else(|| Failure::invalid("CONNECT needs a host and a port"))?;
    let target = Target::new(authority, None)?;
    let far = origins.connect(&target).await?;
    tokio::spawn(async move {
        let tunnel = async {
            match hyper::upgrade::on(request).await {
                Ok(near) => carry(TokioIo::new(near), far).await,
                Err(e) => log::debug!("proxy: cannot open a tunnel to {target}: {e}"),
            }
        };
        tokio::select! {
            () = tunnel => {}
            () = end => {}
        }
    });
    Ok(Response::new(body::empty()))
}

async fn carry(near: impl Stream, far: Box<dyn Stream>) {
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let carried = AtomicU64::new(0);
    tokio::join!(
        copy(near_read, far_write, &carried),
        copy(far_read, near_write, &carried),
    );
}

/// Copies until the end of the stream, an error, or until both directions are idle.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    carried: &AtomicU64,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let before = carried.load(Ordering::Relaxed);
        match tokio::time::timeout(IDLE, from.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(read)) => {
                carried.fetch_add(read as u64, Ordering::Relaxed);
                let written = to.write_all(&buffer[..read]);
                if !matches!(tokio::time::timeout(IDLE, written).await, Ok(Ok(()))) {
                    break;
                }
            }
            Err(_) if carried.load(Ordering::Relaxed) == before => break,
            Err(_) => {}
        }
    }
    if let Err(e) = to.shutdown().await {
        log::debug!("proxy: a tunnel is already closed: {e}");
    }
}
