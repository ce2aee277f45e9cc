"""Reading ``init_data.xml``."""

from __future__ import annotations

import os
from pathlib import Path

from aioboinc.slave_runtime import init_data

# As the client of Debian 12 wrote it, shortened.
OBSERVED = b"""<app_init_data>
<major_version>7</major_version>
<minor_version>20</minor_version>
<release>5</release>
<app_version>102</app_version>
<hostid>1</hostid>
<app_name>pyboinc</app_name>
<user_name>demouser</user_name>
<project_dir>/var/lib/boinc-client/projects/127.0.0.1_demo</project_dir>
<boinc_dir>/var/lib/boinc-client</boinc_dir>
<wu_name>pyboinc_3_14</wu_name>
<result_name>pyboinc_3_14_0</result_name>
<shm_key>-1</shm_key>
<slot>2</slot>
<client_pid>18404</client_pid>
<wu_cpu_time>12.500000</wu_cpu_time>
<starting_elapsed_time>0.000000</starting_elapsed_time>
<checkpoint_period>60.000000</checkpoint_period>
<fraction_done_start>0.000000</fraction_done_start>
<fraction_done_end>1.000000</fraction_done_end>
<gpu_type></gpu_type>
<ncpus>2.000000</ncpus>
<host_info>
    <timezone>0</timezone>
    <p_model>AMD EPYC [Family 26 Model 2 Stepping 1]</p_model>
</host_info>
<global_preferences>
   <mod_time>0.000000</mod_time>
</global_preferences>
<app_file>launcher_1.00_x86_64-pc-linux-gnu.sh</app_file>
</app_init_data>
"""


def test_what_the_client_wrote() -> None:
    assert init_data.parse(OBSERVED) == init_data.InitData(
        wu_name="pyboinc_3_14",
        result_name="pyboinc_3_14_0",
        project_dir="/var/lib/boinc-client/projects/127.0.0.1_demo",
        slot=2,
        client_pid=18404,
        shm_key=-1,
        wu_cpu_time=12.5,
        checkpoint_period=60.0,
        ncpus=2.0,
    )


def test_paths_are_not_escaped_and_in_any_encoding() -> None:
    path = "/home/Jos\N{LATIN SMALL LETTER E WITH ACUTE}/a<b & c"
    data = OBSERVED.replace(b"/var/lib/boinc-client/projects/127.0.0.1_demo", os.fsencode(path))
    assert init_data.parse(data).project_dir == path
    data = OBSERVED.replace(b"/var/lib/boinc-client/projects", b"/home/Jos\xe9")
    assert os.fsencode(init_data.parse(data).project_dir) == b"/home/Jos\xe9/127.0.0.1_demo"


def test_names_are_escaped() -> None:
    assert init_data.parse(b"<app_init_data><wu_name>a &amp; b</wu_name></app_init_data>").wu_name == "a & b"


def test_preferences_of_the_project_are_not_taken_for_the_clients_words() -> None:
    foreign = b"<project_preferences>\n<client_pid>1</client_pid>\n<x>\n</project_preferences>\n<wu_name>"
    assert init_data.parse(OBSERVED.replace(b"<wu_name>", foreign)).client_pid == 18404


def test_what_is_missing_or_no_number_has_its_default() -> None:
    assert init_data.parse(b"") == init_data.InitData()
    assert init_data.parse(b"<app_init_data>\n<slot>x</slot>\n<ncpus></ncpus>\n") == init_data.InitData()


def test_windows_names_shared_memory() -> None:
    data = OBSERVED.replace(b"<shm_key>-1</shm_key>", b"<comm_obj_name>boinc_3</comm_obj_name>")
    init = init_data.parse(data)
    assert (init.comm_obj_name, init.shm_key) == ("boinc_3", 0)


def test_without_a_file_there_is_no_client(tmp_path: Path) -> None:
    assert init_data.read(str(tmp_path / "init_data.xml")) is None
