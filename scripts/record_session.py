"""Types the commands of a file into a shell on a pseudo-terminal, and writes down what is shown.

    record_session.py SCRIPT OUTPUT [WORD...]

OUTPUT is an asciicast, version 2 (docs.asciinema.org/manual/asciicast/v2): a header, then an event a line:
[seconds, "o", text]. What is in it comes from the terminal, but for the keys, which are shown as if a person
typed. Nothing is written when a command ends with another code than 0 or takes longer than ten minutes, or
when one of the WORDs has been shown, which are names and paths of the machine and in none of the commands.
"""

import codecs
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

WIDTH, HEIGHT = 100, 28
PROMPT = "$ "
PATIENCE = 600
# Between two keys, and before and after a command: a recording is read by people.
KEY, PAUSE = 0.04, 0.6
# The prompt carries the last exit code in a string for the terminal that shows nothing; it is taken out.
MARK = "\x1b]777;"
END = "\x07"


class Recorder:
    def __init__(self, terminal):
        self.terminal = terminal
        self.began = time.monotonic()
        self.events = []
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""

    def read_until_prompt(self):
        """Records what comes up to the next prompt; the exit code in it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            readable, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            if not readable:
                raise SystemExit("record-demo: a command takes longer than ten minutes")
            try:
                data = os.read(self.terminal, 65536)
            except OSError:
                data = b""
            if not data:
                raise SystemExit("record-demo: the shell ended")
            code = self.take(self.decoder.decode(data))
            if code is not None:
                return code

    def take(self, text):
        self.held += text
        begin = self.held.find(MARK)
        end = self.held.find(END, begin + len(MARK))
        if begin >= 0 and end >= 0:
            code = int(self.held[begin + len(MARK) : end])
            self.show(self.held[:begin] + PROMPT)
            self.held = ""
            return code
        if begin < 0:
            # The beginning of a mark may be all that has come of it.
            cut = [n for n in range(1, len(MARK)) if self.held.endswith(MARK[:n])]
            safe = len(self.held) - (cut[-1] if cut else 0)
            self.show(self.held[:safe])
            self.held = self.held[safe:]
        return None

    def show(self, text):
        if text:
            self.events.append([round(time.monotonic() - self.began, 3), "o", text])

    def shown(self):
        return "".join(text for _, _, text in self.events)

    def type(self, command):
        """Shows the keys of a command, then gives it to the shell, which does not echo."""
        time.sleep(PAUSE)
        for key in command:
            self.show(key)
            time.sleep(KEY)
        self.show("\r\n")
        os.write(self.terminal, command.encode() + b"\n")


def start_shell(home):
    """A shell without a user's settings, in `home`: its process and its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home)
        os.environ["PS1"] = MARK + "$?" + END
        os.environ["PS2"] = ""
        # The shell would have its own idea of a prompt and of editing lines.
        os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    modes = termios.tcgetattr(terminal)
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    return pid, terminal


def main(script, output, *words):
    with open(script, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    commands = [line for line in lines if line and not line.startswith("#")]
    pid, terminal = start_shell(os.environ["HOME"])
    recorder = Recorder(terminal)
    try:
        recorder.read_until_prompt()
        # From here on: what the shell said while it started is nobody's.
        recorder.began, recorder.events = time.monotonic(), []
        recorder.show(PROMPT)
        for command in commands:
            recorder.type(command)
            code = recorder.read_until_prompt()
            if code != 0:
                raise SystemExit(f"{recorder.shown()}\nrecord-demo: `{command}` ended with {code}")
        time.sleep(PAUSE)
        recorder.show("\r\n")
    finally:
        os.kill(pid, signal.SIGHUP)
        os.waitpid(pid, 0)
    # A machine's name may be a word of the commands themselves: what was typed for all to see is told anyway.
    told = [word for word in words if word and word not in "\n".join(commands) and word in recorder.shown()]
    if told:
        raise SystemExit(f"record-demo: the recording tells of {told}")
    header = {"version": 2, "width": WIDTH, "height": HEIGHT, "env": {"TERM": "xterm-256color", "SHELL": "bash"}}
    with open(output, "w", encoding="utf-8") as file:
        for line in [header, *recorder.events]:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
