/* What Windows' own SSH server does with a command: the line goes to cmd.exe as it is, in a job object that ends with the session, and from
 * which a process may break away unless SESSION_BREAKAWAY is `no`. */
#include <windows.h>

int main(void)
{
    static WCHAR given[30000], line[32000];
    WCHAR breakaway[8] = L"";
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    STARTUPINFOW startup = {sizeof(startup)};
    PROCESS_INFORMATION process;
    HANDLE job = CreateJobObjectW(NULL, NULL);
    DWORD code = 250;

    GetEnvironmentVariableW(L"SSH_ORIGINAL_COMMAND", given, 30000);
    GetEnvironmentVariableW(L"SESSION_BREAKAWAY", breakaway, 8);
    lstrcpyW(line, L"cmd.exe /c \"");
    lstrcatW(line, given);
    lstrcatW(line, L"\"");
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if (lstrcmpW(breakaway, L"no") != 0)
        limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_BREAKAWAY_OK;
    if (!SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits)))
        return 251;
    if (!AssignProcessToJobObject(job, GetCurrentProcess()))
        return 252;
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, L"C:\\home", &startup, &process))
        return 253;
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &code);
    return (int)code;
}
