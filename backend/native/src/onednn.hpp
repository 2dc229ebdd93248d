// oneDNN, opened privately at run time: another library's copy in the same process never meets it.
#pragma once
#include <string>

namespace gradatim {

// Opens the library at this path; returns its version, or throws with the reason.
std::string open_onednn(const std::string& path);

}  // namespace gradatim
