/* Stands for a program of Windows that Wine has in name only, or that cannot be had: runs the recorder, which keeps what it was asked
 * and answers what was scripted. One program is copied to all their names.
 *
 * Ends with the recorder's exit code, or with 97 where that cannot be started. */
#define UNICODE
#include <windows.h>
#include <stdio.h>
#include <wchar.h>

#define MOST 32767

int main(void) {
    static wchar_t path[MOST], words[] = L"python.exe -I -S -X utf8 C:\\standin\\recorder.py";
    STARTUPINFOW start = {0};
    PROCESS_INFORMATION process;
    DWORD code;

    GetModuleFileNameW(NULL, path, MOST);
    SetEnvironmentVariableW(L"STANDIN_PROGRAM", path);
    SetEnvironmentVariableW(L"STANDIN_WORDS", GetCommandLineW());
    start.cb = sizeof start;
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(L"C:\\hgdev\\python\\python.exe", words, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
        fprintf(stderr, "recorder: cannot start its program: error %lu\n", GetLastError());
        return 97;
    }
    WaitForSingleObject(process.hProcess, INFINITE);
    if (!GetExitCodeProcess(process.hProcess, &code))
        return 97;
    return (int)code;
}
