/* Starts the line of an SSH session as Win32-OpenSSH does: `cmd.exe /c "LINE"`, in a job object whose processes end with
 * the session unless they break away from it.
 *
 * The line is the variable STANDIN_LINE, which is removed; without it `cmd.exe` reads commands. Ends with the line's exit
 * code, or with 125 and a sentence on standard error where it cannot be started. */
#define UNICODE
#include <windows.h>
#include <stdio.h>
#include <wchar.h>

/* The most characters of a command line of Windows. */
#define MOST 32767

static wchar_t words[MOST + 1];
static wchar_t line[MOST + 1];

static int fail(const char *what) {
    fprintf(stderr, "session: cannot %s: error %lu\n", what, GetLastError());
    return 125;
}

int main(void) {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    STARTUPINFOW start = {0};
    PROCESS_INFORMATION process;
    DWORD code, length = GetEnvironmentVariableW(L"STANDIN_LINE", line, MOST);
    HANDLE job = CreateJobObjectW(NULL, NULL);

    if (length >= MOST) {
        fprintf(stderr, "session: the line is too long\n");
        return 125;
    }
    SetEnvironmentVariableW(L"STANDIN_LINE", NULL);
    if (length == 0)
        wcscpy(words, L"cmd.exe");
    else if (_snwprintf(words, MOST, L"cmd.exe /c \"%ls\"", line) < 0) {
        fprintf(stderr, "session: the line is too long\n");
        return 125;
    }
    if (!job)
        return fail("make a job object");
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_BREAKAWAY_OK;
    if (!SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits))
        return fail("limit the job object");
    start.cb = sizeof start;
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    SetHandleInformation(job, HANDLE_FLAG_INHERIT, 0);
    /* Suspended, so that it starts nothing before it is in the job. */
    if (!CreateProcessW(L"C:\\windows\\system32\\cmd.exe", words, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL, &start,
                        &process))
        return fail("start cmd.exe");
    if (!AssignProcessToJobObject(job, process.hProcess)) {
        TerminateProcess(process.hProcess, 125);
        return fail("put cmd.exe into the job object");
    }
    ResumeThread(process.hThread);
    WaitForSingleObject(process.hProcess, INFINITE);
    if (!GetExitCodeProcess(process.hProcess, &code))
        return fail("read the exit code of cmd.exe");
    return (int)code;
}
