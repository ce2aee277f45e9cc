@echo off
rem Finds a Python for the job and runs the runtime with it (Windows). It is run in the slot directory, with the
rem arguments of the workunit's command line; the runtime ignores others in front of them.
rem
rem The client starts an executable, the app version's main program; that has cmd.exe run this file, with the path of
rem the executable in front of the arguments. (The client can't start this file itself: it names the main program by a
rem relative path with slashes, in which cmd.exe sees options.)
rem
rem Names in the slot: pyboinc_runtime, the runtime's archive. If the app version brings an interpreter along:
rem pyboinc_python, its executable, and pyboinc_python_files, a tar or zip archive of what belongs to it.
rem That is unpacked beside the archive, in the project's directory, once for all jobs.
rem
rem The client does not redirect the output of applications on Windows: the runtime does, and this file does.

setlocal EnableExtensions DisableDelayedExpansion
set "PYBOINC_PYTHON="
if not exist pyboinc_runtime (
    >>stderr.txt echo pyboinc: the job cannot be started: pyboinc_runtime is missing
    exit 206
)
call :resolve pyboinc_runtime
set "PYBOINC_RUNTIME=%PYBOINC_PATH%"
call :take_bundled
if not defined PYBOINC_PYTHON call :take_installed
if not defined PYBOINC_PYTHON goto :no_python
"%PYBOINC_PYTHON%" -E -s "%PYBOINC_RUNTIME%" %*
exit %ERRORLEVEL%

:no_python
set "PYBOINC_REASON=This computer needs Python 3.8 or newer for this project: install it, from python.org for example."
>>stderr.txt echo pyboinc: %PYBOINC_REASON%
>boinc_temporary_exit echo 3600
>>boinc_temporary_exit echo %PYBOINC_REASON%
>>boinc_temporary_exit echo notice
exit 0

:resolve
rem Sets PYBOINC_PATH to the path that the name %1 stands for: a file, or a text with a soft link.
set "PYBOINC_PATH=%~1"
for /f "usebackq tokens=1,2 delims=<>" %%a in ("%~1") do if "%%a"=="soft_link" set "PYBOINC_PATH=%%b"
set "PYBOINC_PATH=%PYBOINC_PATH:/=\%"
goto :eof

:take
rem Takes the interpreter %1, if it is there, runs, and is new enough. What is in WindowsApps may be no more than an
rem advertisement of Microsoft's store, and if it is a Python then one that sees other files.
if defined PYBOINC_PYTHON goto :eof
set "PYBOINC_CANDIDATE=%~1"
if not exist "%PYBOINC_CANDIDATE%" goto :eof
if not "%PYBOINC_CANDIDATE:WindowsApps=%"=="%PYBOINC_CANDIDATE%" goto :eof
"%PYBOINC_CANDIDATE%" -E -s -c "import sys; sys.exit(sys.version_info < (3, 8))" >nul 2>nul
if "%ERRORLEVEL%"=="0" set "PYBOINC_PYTHON=%PYBOINC_CANDIDATE%"
goto :eof

:take_bundled
if not exist pyboinc_python goto :eof
if not exist pyboinc_python_files goto :eof
call :resolve pyboinc_python
set "PYBOINC_EXECUTABLE=%PYBOINC_PATH%"
call :resolve pyboinc_python_files
set "PYBOINC_ARCHIVE=%PYBOINC_PATH%"
set "PYBOINC_HOME=%PYBOINC_ARCHIVE%.unpacked"
if exist "%PYBOINC_HOME%" goto :unpacked
set "PYBOINC_NEW=%PYBOINC_HOME%.%RANDOM%%RANDOM%"
mkdir "%PYBOINC_NEW%" >nul 2>nul
"%SystemRoot%\System32\tar.exe" -xf "%PYBOINC_ARCHIVE%" -C "%PYBOINC_NEW%" >nul 2>nul
if errorlevel 1 goto :discard
copy /b /y "%PYBOINC_EXECUTABLE%" "%PYBOINC_NEW%\python.exe" >nul 2>nul
if errorlevel 1 goto :discard
rem Of two jobs that come at the same time, one is too late: a directory is not renamed to a name that exists.
for %%h in ("%PYBOINC_HOME%") do ren "%PYBOINC_NEW%" "%%~nxh" >nul 2>nul
:discard
if exist "%PYBOINC_NEW%" rmdir /s /q "%PYBOINC_NEW%"
:unpacked
call :take "%PYBOINC_HOME%\python.exe"
goto :eof

:take_installed
for /f "usebackq delims=" %%p in (`py -3 -E -s -c "import sys; sys.stdout.reconfigure(encoding='oem'); print(sys.executable)" 2^>nul`) do call :take "%%p"
set "PYBOINC_DIRECTORIES=%PATH:"=%"
for %%d in ("%PYBOINC_DIRECTORIES:;=" "%") do call :take "%%~d\python.exe"
for %%v in (14 13 12 11 10 9 8) do (
    call :take "%ProgramFiles%\Python3%%v\python.exe"
    call :take "%LocalAppData%\Programs\Python\Python3%%v\python.exe"
    call :take "%SystemDrive%\Python3%%v\python.exe"
)
for %%d in (miniconda3 anaconda3) do call :take "%ProgramData%\%%d\python.exe"
goto :eof
