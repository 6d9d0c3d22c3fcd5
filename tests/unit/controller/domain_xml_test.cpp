// SPDX-License-Identifier: Apache-2.0
#include "host-controller/metadata/domain_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace acma::host {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> k_channels{"org.acma.agent.0", "org.qemu.guest_agent.0"};

// Cut from the live XML that libvirt 9.0 gives of a running guest.
constexpr const char* k_live = R"(<domain type='qemu' id='7'>
  <name>web</name>
  <uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <metadata>
    <acma:policy xmlns:acma="urn:acma:policy:1" min-mem="256MiB" max-mem="1GiB"/>
    <acma-state:state xmlns:acma-state="urn:acma:state:1" target="768MiB"/>
  </metadata>
  <memory unit='KiB'>1048576</memory>
  <currentMemory unit='KiB'>786432</currentMemory>
  <devices>
    <channel type='unix'>
      <source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-7-web/org.qemu.guest_agent.0'/>
      <target type='virtio' name='org.qemu.guest_agent.0' state='disconnected'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-7-web/org.acma.agent.0'/>
      <target type='virtio' name='org.acma.agent.0' state='connected'/>
    </channel>
    <memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='10'/></memballoon>
  </devices>
</domain>)";

TEST(DomainXml, ReadsWhatTheControllerNeeds) {
    const auto facts = read_domain_xml(k_live, k_channels);
    ASSERT_TRUE(facts) << facts.error().message;
    EXPECT_EQ(facts->vm.uuid, "6695eb01-f6a4-8304-79aa-97f2502e193f");
    EXPECT_EQ(facts->name, "web");
    EXPECT_EQ(facts->id, 7U);
    EXPECT_EQ(facts->ram, 1_GiB);
    EXPECT_THAT(facts->ram_blocks, ElementsAre(1_GiB));
    EXPECT_EQ(facts->current, 768_MiB);
    EXPECT_TRUE(facts->has_balloon);
    ASSERT_TRUE(facts->channel);
    EXPECT_THAT(*facts->channel, HasSubstr("org.acma.agent.0"));
    ASSERT_TRUE(facts->policy && *facts->policy);
    EXPECT_EQ((**facts->policy).max_mem, 1_GiB);
    EXPECT_EQ(facts->note.target, 768_MiB);
}

TEST(DomainXml, TakesTheSecondChannelWhenTheFirstIsNotThere) {
    const auto facts = read_domain_xml(k_live, {"org.acma.agent.1", "org.qemu.guest_agent.0"});
    ASSERT_TRUE(facts && facts->channel);
    EXPECT_THAT(*facts->channel, HasSubstr("org.qemu.guest_agent.0"));
}

TEST(DomainXml, CountsCellsDimmsAndVirtioMemApart) {
    const auto facts = read_domain_xml(R"(<domain id='1'><name>n</name><uuid>u</uuid>
      <memtune><soft_limit unit='KiB'>3145728</soft_limit></memtune>
      <memory unit='KiB'>2621440</memory><currentMemory unit='KiB'>2228224</currentMemory>
      <cpu><numa><cell id='0' cpus='0' memory='524288' unit='KiB'/>
                 <cell id='1' cpus='1' memory='1048576' unit='KiB'/></numa></cpu>
      <devices>
        <memory model='virtio-mem'><target><size unit='KiB'>524288</size><node>1</node>
          <block unit='KiB'>2048</block><requested unit='KiB'>262144</requested>
          <current unit='KiB'>131072</current></target><alias name='virtiomem0'/></memory>
        <memory model='dimm'><target><size unit='KiB'>524288</size><node>0</node></target></memory>
        <memballoon model='none'/>
      </devices></domain>)",
                                       k_channels);
    ASSERT_TRUE(facts) << facts.error().message;
    EXPECT_EQ(facts->ram, 2_GiB);
    EXPECT_EQ(facts->memory_devices,
              (std::vector<plugging::Device>{{"virtiomem0", 512_MiB, 2_MiB, 256_MiB, 128_MiB, 1}}));
    EXPECT_EQ(facts->soft_limit, 3_GiB);
    EXPECT_EQ(facts->current, 2048_MiB);
    EXPECT_THAT(facts->ram_blocks, ElementsAre(512_MiB, 1_GiB, 512_MiB, 512_MiB));
    EXPECT_FALSE(facts->has_balloon);
    EXPECT_FALSE(facts->channel);
}

TEST(DomainXml, MakesADeviceWithAnotherRequestedSizeAndLeavesTheRest) {
    constexpr const char* k_domain =
        "<domain><devices><memory model='dimm'><alias name='dimm0'/></memory>"
        "<memory model='virtio-mem'><target><size unit='KiB'>524288</size>"
        "<requested unit='MiB'>256</requested></target><alias name='ua-m'/></memory>"
        "</devices></domain>";
    const auto device = memory_device_xml(k_domain, "ua-m", 128_MiB);
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_EQ(device->requested, 256_MiB);
    EXPECT_EQ(device->updated,
              R"(<memory model="virtio-mem"><target><size unit="KiB">524288</size>)"
              R"(<requested unit="KiB">131072</requested></target><alias name="ua-m"/></memory>)");
    EXPECT_EQ(memory_device_xml(k_domain, "dimm0", 128_MiB).error().code, ErrorCode::not_found);
    EXPECT_EQ(memory_device_xml("<domain", "ua-m", 128_MiB).error().code, ErrorCode::invalid);
}

TEST(DomainXml, TellsWhetherTheRamIsInHugePages) {
    const auto pinned = [](const std::string& devices) {
        return read_domain_xml(
                   "<domain><name>a</name><uuid>u</uuid><memory>1024</memory><devices>" + devices +
                       "</devices></domain>",
                   {})
            ->pins_memory;
    };
    EXPECT_TRUE(pinned("<hostdev mode='subsystem' type='pci' managed='yes'/>"));
    EXPECT_TRUE(pinned("<hostdev mode='subsystem' type='mdev'/>"));
    EXPECT_TRUE(pinned("<interface type='hostdev'/>"));
    EXPECT_TRUE(pinned("<interface type='vdpa'/>"));
    EXPECT_FALSE(pinned("<hostdev mode='subsystem' type='usb'/><interface type='network'/>"));
    const auto in_huge_pages = [](const std::string& backing) {
        return read_domain_xml("<domain><name>n</name><uuid>u</uuid><memory>1048576</memory>" +
                                   backing + "</domain>",
                               k_channels)
            ->huge_pages;
    };
    EXPECT_TRUE(in_huge_pages("<memoryBacking><hugepages/></memoryBacking>"));
    EXPECT_TRUE(
        in_huge_pages("<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages>"
                      "<source type='memfd'/></memoryBacking>"));
    EXPECT_FALSE(in_huge_pages("<memoryBacking><source type='memfd'/></memoryBacking>"));
    EXPECT_FALSE(in_huge_pages(""));
}

TEST(DomainXml, KeepsTheErrorOfABadPolicy) {
    const auto facts = read_domain_xml(
        R"(<domain><name>n</name><uuid>u</uuid><memory unit='KiB'>1048576</memory><metadata>
           <acma:policy xmlns:acma="urn:acma:policy:1" min-mem="2GiB" max-mem="1GiB"/>
           </metadata></domain>)",
        k_channels);
    ASSERT_TRUE(facts);
    ASSERT_FALSE(facts->policy);
    EXPECT_THAT(facts->policy.error().message, HasSubstr("is above max-mem"));
}

// libvirt hands the metadata over as part of the domain's XML.
TEST(DomainXml, BoundsThePolicyAndNotWhatOthersKeepBesideIt) {
    const auto policy_beside = [](size_t ours, size_t theirs) {
        return read_domain_xml(
                   "<domain><name>n</name><uuid>u</uuid><memory>1048576</memory><metadata>"
                   "<acma:policy xmlns:acma='urn:acma:policy:1' xmlns:x='" +
                       std::string(ours, 'x') +
                       "' min-mem='512MiB' max-mem='1GiB'/><other xmlns='urn:other'>" +
                       std::string(theirs, 'x') + "</other></metadata></domain>",
                   k_channels)
            ->policy;
    };
    EXPECT_TRUE(policy_beside(100, 100'000));
    const auto refused = policy_beside(20'000, 0);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::too_large);
}

TEST(DomainXml, RefusesWhatIsNoDomain) {
    for (const char* xml :
         {"", "<domain", "<network/>", "<domain><name>n</name></domain>",
          "<domain><name>n</name><uuid>u</uuid><memory>many</memory></domain>",
          "<domain><name>n</name><uuid>u</uuid><memory unit='pages'>1</memory></domain>"}) {
        EXPECT_FALSE(read_domain_xml(xml, k_channels)) << xml;
    }
}

TEST(DomainXml, SaysWhereItIsNotXml) {
    const auto error_of = [](const std::string& xml) {
        return read_domain_xml(xml, k_channels).error().message;
    };
    EXPECT_THAT(error_of("<domain>\n  <memory"), HasSubstr("domain XML: line 2, column "));
    std::string deep;
    for (int i = 0; i < 1000; ++i) {
        deep += "<a>";
    }
    EXPECT_THAT(error_of(deep), HasSubstr("line 1, column 3000"));
}

TEST(DomainXml, ReadsTheTargetThatLibvirtGivesAtStart) {
    EXPECT_EQ(read_start_target("<domain><currentMemory unit='MiB'>512</currentMemory></domain>"),
              512_MiB);
    EXPECT_EQ(read_start_target("<domain/>"), std::nullopt);
    EXPECT_EQ(read_start_target("<doma"), std::nullopt);
}

TEST(DomainXml, ReadsWhatRulesAskForInOtherToolsMetadata) {
    const MetadataPath flavor{"urn:nova", "instance/flavor/@name"};
    const MetadataPath project{"urn:nova", "instance/owner/project"};
    const auto found = [&](const std::string& metadata) {
        return read_domain_xml(
                   "<domain><name>a</name><uuid>u</uuid><memory>1024</memory><metadata>" +
                       metadata + "</metadata></domain>",
                   {}, {flavor, project})
            ->foreign;
    };
    const ForeignMetadata nova = found(
        "<nova:instance xmlns:nova='urn:nova'><nova:flavor name='m1.small'/>"
        "<nova:owner><nova:project uuid='1'>blue</nova:project></nova:owner>"
        "</nova:instance>");
    EXPECT_EQ(nova, (ForeignMetadata{{flavor, {"m1.small"}}, {project, {"blue"}}}));
    EXPECT_EQ(found("<instance xmlns='urn:nova'><flavor name='a'/><flavor name='b'/></instance>"),
              (ForeignMetadata{{flavor, {"a", "b"}}}));
    EXPECT_TRUE(found("<instance xmlns='urn:else'><flavor name='a'/></instance>").empty());
    EXPECT_TRUE(found("<instance xmlns='urn:nova'><flavor/></instance>").empty());
    EXPECT_TRUE(found("").empty());
    std::string many;
    for (int i = 0; i < 100; ++i) {
        many += "<flavor name='a'/>";
    }
    EXPECT_EQ(found("<instance xmlns='urn:nova'><flavor name='" + std::string(300, 'x') + "'/>" +
                    many + "</instance>")
                  .at(flavor),
              std::vector<std::string>(k_max_metadata_values, "a"));
}

}  // namespace
}  // namespace acma::host
