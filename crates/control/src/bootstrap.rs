//! The first Python statements of a zygote: `PYTHON -c BOOTSTRAP EXTENSION_PATH CHANNEL_FD`.
//!
//! They run in whatever interpreter the vassal file names, so they are understood by every Python since 2.7: one that
//! cannot load the extension answers with a [`crate::worker::FromZygote::LoadFailed`] of its own making instead of a loader's riddle.
//! The master passes this text on; nothing else may run before the extension takes over.

/// The program text.
///
/// Arguments: the extension's path, the number of the inherited channel descriptor, and, when a zygote starts itself
/// over, the number of a descriptor that says how.
///
/// `refuse` takes the master's first word off the channel before it answers: leaving it there would reset the channel
/// at exit, and the answer could be lost (unix(7) sockets report the reset first).
///
/// With `-c` the first entry of `sys.path` is the empty string: the working directory would shadow the standard library
/// (a `socket.py` beside the app). It is removed before anything is imported.
///
/// The extension is loaded as `importlib.machinery.ExtensionFileLoader` does it, but without `importlib`: what it imports in turn
/// costs a third of the interpreter's whole start, and a fleet pays it per vassal.
pub const BOOTSTRAP: &str = r#"import sys
if sys.path and sys.path[0] == '': del sys.path[0]
def bootstrap(path, channel, resume):
    def refuse(sentence):
        import json, os, socket
        line = socket.fromfd(channel, socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.recv(1)
        line.sendall(json.dumps({'say': 'load_failed', 'sentence': sentence, 'traceback': None}).encode())
        os._exit(1)
    version = '.'.join(str(part) for part in sys.version_info[:3])
    name = getattr(getattr(sys, 'implementation', None), 'name', 'cpython')
    if name != 'cpython':
        refuse('%s is %s %s: CPython 3.9 or newer is needed' % (sys.executable, name, version))
    if sys.version_info < (3, 9):
        refuse('%s is CPython %s: 3.9 or newer is needed' % (sys.executable, version))
    if not getattr(sys, '_is_gil_enabled', lambda: True)() or 't' in getattr(sys, 'abiflags', ''):
        refuse('%s is a free-threaded build of CPython %s: a build with the global interpreter lock is needed' % (sys.executable, version))
    try:
        import _imp
        worker = _imp.create_dynamic(type(sys.__spec__)('empery_worker', None, origin=path))
        _imp.exec_dynamic(worker)
    except ImportError as error:
        refuse('%s (CPython %s) cannot load the worker extension %s: %s' % (sys.executable, version, path, error))
    return worker.zygote(channel, resume)
sys.exit(bootstrap(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else -1))
"#;
